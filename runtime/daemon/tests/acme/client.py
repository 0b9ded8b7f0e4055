"""A client by the library `acme`: DIRECTORY EAB-KID EAB-KEY HTTP-PORT. Prints each step that went well."""

import datetime
import json
import sys

import josepy as jose
from acme import challenges, client, crypto_util, errors, jws, messages, standalone
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

directory_url, eab_kid, eab_key, port = sys.argv[1:]


def done(step):
    print(step, flush=True)


def key_pem():
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


old_key = jose.JWKRSA(key=rsa.generate_private_key(65537, 2048))
net = client.ClientNetwork(old_key, user_agent="test")
directory = client.ClientV2.get_directory(directory_url, net)
acme = client.ClientV2(directory, net)
assert acme.external_account_required()
binding = messages.ExternalAccountBinding.from_data(old_key.public_key(), eab_kid, eab_key, directory)
account = acme.new_account(messages.NewRegistration.from_data(
    email="ops@mcrun.test", terms_of_service_agreed=True, external_account_binding=binding))
net.account = account
acme.query_registration(account)
done("registered")


def issue(*names):
    """A certificate for the names by http-01."""
    order = acme.new_order(crypto_util.make_csr(key_pem(), list(names)))
    resources, answers = set(), []
    for authorization in order.authorizations:
        found = [one for one in authorization.body.challenges if isinstance(one.chall, challenges.HTTP01)][0]
        response, validation = found.response_and_validation(net.key)
        resources.add(standalone.HTTP01RequestHandler.HTTP01Resource(found.chall, response, validation))
        answers.append((found, response))
    servers = standalone.HTTP01DualNetworkedServers(("127.0.0.1", int(port)), resources)
    servers.serve_forever()
    try:
        for found, response in answers:
            acme.answer_challenge(found, response)
        order = acme.poll_and_finalize(order, datetime.datetime.now() + datetime.timedelta(seconds=60))
    finally:
        servers.shutdown_and_server_close()
    return order.fullchain_pem


chain = issue("p.mcrun.test", "q.mcrun.test")
certificate = x509.load_pem_x509_certificate(chain.encode())
done("issued")

when, _ = acme.renewal_time(chain.encode())
assert when is not None and certificate.not_valid_before_utc < when < certificate.not_valid_after_utc, when
done("renewal")

new_key = jose.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
url = directory["keyChange"]
inner = jws.JWS.sign(
    json.dumps({"account": account.uri, "oldKey": old_key.public_key().to_json()}).encode(),
    key=new_key, alg=jose.ES256, nonce=None, url=url)


class Ready:
    """What is signed already."""

    def json_dumps(self, indent=None):
        return inner.json_dumps(indent=indent)


net.post(url, Ready())
net.key, net.alg = new_key, jose.ES256
acme.query_registration(account)
done("key changed")
net.key, net.alg = old_key, jose.RS256
try:
    acme.query_registration(account)
except messages.Error as error:
    assert error.code == "accountDoesNotExist", error
    done("old key refused")
net.account = account
net.key, net.alg = new_key, jose.ES256

acme.revoke(x509.load_pem_x509_certificate(issue("r.mcrun.test").encode()), 4)
done("revoked")

acme.deactivate_registration(account)
try:
    acme.new_order(crypto_util.make_csr(key_pem(), ["p.mcrun.test"]))
except (messages.Error, errors.Error):
    done("deactivated")
