"""A relying party made of authlib: ISSUER CLIENT SECRET NAME PASSWORD. Signs in as a browser would, and says what it learnt."""
import json
import sys
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
from authlib.integrations.httpx_client import OAuth2Client
from authlib.jose import JsonWebKey, JsonWebToken
from authlib.oidc.core import CodeIDToken

issuer, client_id, secret, name, password = sys.argv[1:]
callback = "http://127.0.0.1:9/callback"
verifier = "a-verifier-of-the-relying-party-that-is-long-enough"


class Fields(HTMLParser):
    """The hidden fields of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "input" and attrs.get("type") == "hidden":
            self.found[attrs["name"]] = attrs.get("value", "")


def browse(browser, url):
    """Goes where a browser is sent, until it is sent back to the client."""
    answer = browser.get(url)
    while answer.is_redirect:
        place = urljoin(str(answer.url), answer.headers["location"])
        if place.startswith(callback):
            return place, None
        answer = browser.get(place)
    return None, answer


with httpx.Client() as browser:
    about = browser.get(issuer + "/.well-known/openid-configuration").json()
    assert about["issuer"] == issuer, about
    client = OAuth2Client(
        client_id,
        secret or None,
        scope="openid profile email groups",
        redirect_uri=callback,
        code_challenge_method="S256",
        token_endpoint_auth_method="client_secret_basic" if secret else "none",
    )
    url, state = client.create_authorization_url(
        about["authorization_endpoint"], code_verifier=verifier, nonce="a-nonce"
    )
    place, page = browse(browser, url)
    assert place is None and page.status_code == 200, page
    fields = Fields(page.text).found | {"name": name, "password": password}
    sent = browser.post(issuer + "/login", data=fields, headers={"Origin": issuer})
    assert sent.status_code == 303, sent.text
    place, page = browse(browser, urljoin(issuer, sent.headers["location"]))
    assert place, page.text
    answer = parse_qs(urlsplit(place).query)
    assert answer["iss"] == [issuer] and answer["state"] == [state], answer

    token = client.fetch_token(
        about["token_endpoint"], authorization_response=place, state=state, code_verifier=verifier
    )
    keys = JsonWebKey.import_key_set(browser.get(about["jwks_uri"]).json())
    claims = JsonWebToken(["EdDSA"]).decode(
        token["id_token"],
        keys,
        claims_cls=CodeIDToken,
        claims_options={"iss": {"value": issuer}, "aud": {"value": client_id}},
        claims_params={"nonce": "a-nonce", "client_id": client_id, "access_token": token["access_token"]},
    )
    claims.validate()
    told = client.get(about["userinfo_endpoint"]).json()
    assert told["sub"] == claims["sub"], told

    fields = {
        "grant_type": "authorization_code",
        "code": answer["code"][0],
        "redirect_uri": callback,
        "code_verifier": verifier,
    }
    if secret:
        again = httpx.post(about["token_endpoint"], data=fields, auth=(client_id, secret))
    else:
        again = httpx.post(about["token_endpoint"], data=fields | {"client_id": client_id})
    gone = httpx.get(about["userinfo_endpoint"], headers={"Authorization": "Bearer " + token["access_token"]})
    print(json.dumps({"claims": dict(claims), "again": again.json()["error"], "gone": gone.status_code}))
