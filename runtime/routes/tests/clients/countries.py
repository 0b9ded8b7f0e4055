"""Writes a database of countries with MaxMind's own layout: FILE NETWORK=COUNTRY… It is read back with their library."""

import ipaddress
import sys

import maxminddb
from mmdb_writer import MMDBWriter
from netaddr import IPSet

path, *entries = sys.argv[1:]
writer = MMDBWriter(6, "GeoLite2-Country", ipv4_compatible=True, languages=["en"], description="countries of a test")
for entry in entries:
    network, country = entry.split("=")
    record = {
        "continent": {"code": "EU", "geoname_id": 6255148, "names": {"en": "somewhere"}},
        "country": {"geoname_id": 2635167, "iso_code": country, "names": {"en": country}},
        "registered_country": {"geoname_id": 6252001, "iso_code": "US", "names": {"en": "United States"}},
    }
    writer.insert_network(IPSet([network]), record)
writer.to_db_file(path + ".new")
with maxminddb.open_database(path + ".new") as reader:
    for entry in entries:
        network, country = entry.split("=")
        first = next(iter(ipaddress.ip_network(network)))
        assert reader.get(str(first))["country"]["iso_code"] == country, entry
import os

os.rename(path + ".new", path)
