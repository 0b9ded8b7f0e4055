"""Makes a folder that is a small Debian with systemd, out of the packages that this machine has installed: no network, and
the same versions as the programs under test were linked against. dpkg in it knows what is there."""

import os
import re
import shutil
import subprocess
import sys

WANTED = ["systemd", "init-system-helpers", "dpkg", "libstdc++6", "libgcc-s1", "procps"]
LEFT_OUT = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/usr/lib/python", "/usr/share/python")
INFO = "/var/lib/dpkg/info"


def stanzas():
    with open("/var/lib/dpkg/status", encoding="utf-8", errors="replace") as status:
        for text in status.read().split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", text, re.M))
            if fields.get("Status") == "install ok installed":
                yield fields, text


def closure(packages):
    """The wanted packages with all that they depend on."""
    provided = {}
    for name, (fields, _) in packages.items():
        for word in re.findall(r"[a-z0-9][a-z0-9.+-]+(?= |,|$)", fields.get("Provides", "")):
            provided.setdefault(word, name)
    left = [name for name, (fields, _) in packages.items() if fields.get("Essential") == "yes"] + WANTED
    found = set()
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        fields = packages[name][0]
        for need in (fields.get("Pre-Depends", "") + "," + fields.get("Depends", "")).split(","):
            choices = [re.sub(r"[ :(].*", "", choice.strip()) for choice in need.split("|")]
            for choice in filter(None, choices):
                there = choice if choice in packages else provided.get(choice)
                if there:
                    left.append(there)
                    break
    return sorted(found)


def lists(name, architecture):
    for stem in (f"{INFO}/{name}", f"{INFO}/{name}:{architecture}"):
        if os.path.exists(f"{stem}.list"):
            return stem
    sys.exit(f"there is no list of files of {name}")


def main(root):
    packages = {fields["Package"]: (fields, text) for fields, text in stanzas()}
    missing = [name for name in WANTED if name not in packages]
    if missing:
        sys.exit(f"not installed: {' '.join(missing)}; tests/install.sh installs them")
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    names = closure(packages)
    os.makedirs(f"{root}/usr")
    for folder in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{folder}"):
            os.makedirs(f"{root}/usr/{folder}", exist_ok=True)
            os.symlink(f"usr/{folder}", f"{root}/{folder}")
    files = []
    os.makedirs(f"{root}{INFO}")
    for name in names:
        stem = lists(name, architecture)
        with open(f"{stem}.list", encoding="utf-8") as listed:
            files += [line.rstrip("\n") for line in listed if not line.startswith(LEFT_OUT)]
        for kind in ("list", "md5sums", "conffiles", "preinst", "postinst", "prerm", "postrm", "triggers", "shlibs"):
            if os.path.exists(f"{stem}.{kind}"):
                shutil.copy(f"{stem}.{kind}", f"{root}{INFO}/")
    # Folders that are links here are links there.
    files = sorted({file for file in files if os.path.lexists(file) and file not in ("/.", "/bin", "/sbin", "/lib", "/lib64")})
    packed = subprocess.Popen(
        ["tar", "--create", "--file=-", "--directory=/", "--no-recursion", "--null", "--files-from=-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )
    unpacked = subprocess.Popen(["tar", "--extract", "--file=-", f"--directory={root}", "--keep-directory-symlink"], stdin=packed.stdout)
    packed.stdin.write("\0".join(file.lstrip("/") for file in files).encode())
    packed.stdin.close()
    if unpacked.wait() or packed.wait():
        sys.exit("the files cannot be copied")
    with open(f"{root}/var/lib/dpkg/status", "w", encoding="utf-8") as status:
        status.write("".join(f"{packages[name][1]}\n\n" for name in names))
    for name in ("available", "diversions", "statoverride", "lock"):
        open(f"{root}/var/lib/dpkg/{name}", "a", encoding="utf-8").close()
    for folder in ("updates", "triggers", "parts", "alternatives"):
        os.makedirs(f"{root}/var/lib/dpkg/{folder}", exist_ok=True)
    shutil.copy("/var/lib/dpkg/info/format", f"{root}{INFO}/")
    # What packages do when they are installed: users and groups, and the programs of which there are several.
    for name in ("passwd", "group"):
        shutil.copy(f"/usr/share/base-passwd/{name}.master", f"{root}/etc/{name}")
    for link in os.listdir("/etc/alternatives"):
        target = os.path.realpath(f"/etc/alternatives/{link}")
        place = shutil.which(link)
        if place and os.path.exists(f"{root}{target}") and not os.path.lexists(f"{root}{place}"):
            os.symlink(target, f"{root}{place}")
    for folder in ("proc", "sys", "dev", "run", "tmp", "root", "var/tmp", "var/log", "etc/systemd/system"):
        os.makedirs(f"{root}/{folder}", exist_ok=True)
    os.chmod(f"{root}/tmp", 0o1777)
    # Made at the first boot.
    with open(f"{root}/etc/machine-id", "w", encoding="utf-8"):
        pass
    subprocess.run(["ldconfig", "-r", root], check=True)


main(sys.argv[1])
