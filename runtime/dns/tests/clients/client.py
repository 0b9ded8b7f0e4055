"""What dnspython makes of the server: each step prints its name once it came out as it should."""

import socket
import sys

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.tsig
import dns.tsigkeyring
import dns.update
import dns.zone

HOST, PORT, SECRET = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ZONE = "svc.mcp.metacircular.net"
PATIENCE = 20

ways = {"port": PORT, "timeout": PATIENCE}

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port, resolver.lifetime = [HOST], PORT, PATIENCE
for tcp in (False, True):
    found = resolver.resolve(f"mcq.{ZONE}", "A", tcp=tcp)
    assert [record.address for record in found] == ["100.95.252.120"]
    assert found.response.flags & dns.flags.AA and not found.response.flags & dns.flags.AD
    found = resolver.resolve(f"registry.{ZONE}", "A", tcp=tcp)
    assert found.canonical_name == dns.name.from_text(f"mcr.{ZONE}")
print("resolved")

try:
    resolver.resolve(f"nothing.{ZONE}", "A")
    raise AssertionError("found what is not there")
except dns.resolver.NXDOMAIN:
    pass
try:
    resolver.resolve(f"mcq.{ZONE}", "MX")
    raise AssertionError("found what is not there")
except dns.resolver.NoAnswer as error:
    assert error.response().authority[0].rdtype == dns.rdatatype.SOA
print("negative")

large = dns.message.make_query(f"large.{ZONE}", "TXT", use_edns=0, payload=512)
first = dns.query.udp(large, HOST, **ways)
assert first.flags & dns.flags.TC and len(first.to_wire()) <= 512
whole, used_tcp = dns.query.udp_with_fallback(large, HOST, **ways)
assert used_tcp and len(whole.answer[0]) == 40
print("truncated then tcp")

options = [dns.edns.GenericOption(65001, b"x" * 32), dns.edns.ECSOption("0.0.0.0", 0)]
asked = dns.message.make_query(f"mcq.{ZONE}", "A", use_edns=0, options=options, want_dnssec=True)
answer = dns.query.udp(asked, HOST, **ways)
assert answer.edns == 0 and answer.ednsflags & dns.flags.DO and not answer.options
print("edns options")

keyring = dns.tsigkeyring.from_text({"all": SECRET})
signed = {"keyring": keyring, "keyalgorithm": dns.tsig.HMAC_SHA256}
zone = dns.zone.from_xfr(dns.query.xfr(HOST, ZONE, port=PORT, lifetime=PATIENCE, **signed))
assert len(zone.get_rdataset("large", "TXT")) == 40
assert zone.get_rdataset("kls", "AAAA")[0].address == "2001:db8::120"
print("transferred")

for send in (dns.query.udp, dns.query.tcp):
    update = dns.update.Update(ZONE, **signed)
    update.present("mcq")
    update.absent("new")
    update.add("new", 60, "A", "192.0.2.1")
    assert send(update, HOST, **ways).rcode() == dns.rcode.NOERROR
    update = dns.update.Update(ZONE, **signed)
    update.delete("new")
    assert send(update, HOST, **ways).rcode() == dns.rcode.NOERROR
print("updated")

unsigned = dns.update.Update(ZONE)
unsigned.add("new", 60, "A", "192.0.2.1")
assert dns.query.tcp(unsigned, HOST, **ways).rcode() == dns.rcode.REFUSED
wrong = dns.update.Update(ZONE, keyring=dns.tsigkeyring.from_text({"all": SECRET.replace("bWNy", "bWNz")}),
                          keyalgorithm=dns.tsig.HMAC_SHA256)
wrong.add("new", 60, "A", "192.0.2.1")
try:
    dns.query.tcp(wrong, HOST, **ways)
    raise AssertionError("a wrong key was believed")
except dns.tsig.PeerBadSignature:
    pass
print("refused")

with socket.create_connection((HOST, PORT), PATIENCE) as stream:
    stream.setblocking(False)
    for number in range(100):
        asked = dns.message.make_query(f"mcq.{ZONE}", "A")
        assert dns.query.tcp(asked, HOST, timeout=PATIENCE, sock=stream).answer
print("connection kept")

asked = dns.message.make_query("mCq.SvC.mCp.MetaCircular.Net", "A")
answer = dns.query.udp(asked, HOST, **ways)
assert answer.question[0].name.to_text() == "mCq.SvC.mCp.MetaCircular.Net."
print("case kept")
