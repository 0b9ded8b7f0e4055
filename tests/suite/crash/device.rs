//! Owns a disk that can lose power: a file system on a loop device. What the kernel has not yet sent to the device is not in
//! its image, so a copy of the image is what power loss would leave, of every file whoever writes it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::in_memory;

/// The kernel sends nothing by itself within this many seconds.
const OPTIONS: &str = "loop,noatime,commit=300";
const SIZE: u64 = 24 << 20;

pub(super) struct Device {
    folder: tempfile::TempDir,
}

impl Device {
    /// A fresh file system, mounted.
    pub(super) fn new() -> Self {
        let device = Self { folder: in_memory() };
        fs::create_dir(device.mounted_at()).unwrap();
        fs::File::create(device.image()).unwrap().set_len(SIZE).unwrap();
        run("mkfs.ext4", &["-q", "-F", &device.image()]);
        device.mount();
        device
    }

    pub(super) fn mounted_at(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn image(&self) -> String {
        self.folder.path().join("image").to_str().expect("temporary folders have plain names").to_owned()
    }

    /// Everything so far reaches the device.
    pub(super) fn sync(&self) {
        rustix::fs::syncfs(fs::File::open(self.mounted_at()).unwrap()).unwrap();
    }

    /// What has not reached the device is gone.
    pub(super) fn lose_power(&self) {
        let left = format!("{}.left", self.image());
        fs::copy(self.image(), &left).unwrap();
        self.unmount();
        fs::rename(&left, self.image()).unwrap();
        // As every system does after power loss; an exit code of 1 says that something was put in order.
        let checked = command("e2fsck", &["-f", "-y", &self.image()]).output().unwrap();
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        self.mount();
    }

    fn mount(&self) {
        let at = self.mounted_at();
        run(
            "mount",
            &["-o", OPTIONS, &self.image(), at.to_str().expect("temporary folders have plain names")],
        );
    }

    fn unmount(&self) {
        rustix::mount::unmount(self.mounted_at(), rustix::mount::UnmountFlags::empty()).unwrap();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // A test that failed may still have programs on it.
        let _ = rustix::mount::unmount(self.mounted_at(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[expect(clippy::disallowed_methods, reason = "file systems are made and mounted by the system's programs")]
fn command(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}

fn run(program: &str, words: &[&str]) {
    let output = command(program, words).output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program}: this test makes and mounts file systems: run it as root: {says}"
    );
}
