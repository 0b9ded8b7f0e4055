// A relying party made of openid-client: ISSUER CLIENT SECRET NAME PASSWORD. Signs in as a browser would, and says what it learnt.
import * as client from "openid-client";

const [issuer, id, secret, name, password] = process.argv.slice(2);
const callback = "http://127.0.0.1:9/callback";
const cookies = new Map();

/** One request of a browser that follows nothing by itself. */
async function ask(url, options = {}) {
    const cookie = [...cookies].map(([key, value]) => `${key}=${value}`).join("; ");
    const headers = { ...options.headers, ...(cookie ? { cookie } : {}) };
    const answer = await fetch(url, { ...options, headers, redirect: "manual" });
    for (const line of answer.headers.getSetCookie()) {
        const [key, value] = line.split(";")[0].split("=", 2);
        if (value) cookies.set(key, value);
        else cookies.delete(key);
    }
    return answer;
}

/** Goes where a browser is sent, until it is sent back to the client. */
async function browse(url) {
    for (;;) {
        const answer = await ask(url);
        if (answer.status !== 303) return [undefined, await answer.text()];
        url = new URL(answer.headers.get("location"), url);
        if (url.href.startsWith(callback)) return [url, undefined];
    }
}

const config = await client.discovery(new URL(issuer), id, secret || undefined, secret ? undefined : client.None());
client.enableNonRepudiationChecks(config);
const verifier = client.randomPKCECodeVerifier();
const nonce = client.randomNonce();
const asked = client.buildAuthorizationUrl(config, {
    redirect_uri: callback,
    scope: "openid profile email groups",
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    nonce,
});
const [, page] = await browse(asked);
const fields = new URLSearchParams({ name, password });
for (const [, key, value] of page.matchAll(/type="hidden" name="([a-z]+)" value="([^"]*)"/g)) {
    fields.set(key, value.replaceAll("&amp;", "&"));
}
const sent = await ask(`${issuer}/login`, { method: "POST", body: fields, headers: { origin: issuer } });
if (sent.status !== 303) throw new Error(await sent.text());
const [back, wrong] = await browse(new URL(sent.headers.get("location"), issuer));
if (!back) throw new Error(wrong);

const tokens = await client.authorizationCodeGrant(config, back, {
    pkceCodeVerifier: verifier,
    expectedNonce: nonce,
    idTokenExpected: true,
});
const claims = tokens.claims();
const told = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
await client.tokenRevocation(config, tokens.access_token);
const gone = await client.fetchUserInfo(config, tokens.access_token, claims.sub).then(() => "", (error) => error.name);

const leave = client.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: `${callback}?bye` });
const [left] = await browse(leave);
const [, again] = await browse(asked);
console.log(JSON.stringify({ claims, told, gone, left: left?.href, asked_again: again.includes('name="password"') }));
