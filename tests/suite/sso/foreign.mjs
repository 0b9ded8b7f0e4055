// A foreign provider made of oidc-provider, and a browser that signs in to us by its word: OURS PORT WHO,WHO. Says where the browser ends.
import { Provider } from "oidc-provider";

const [ours, port, people] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
    clients: [
        {
            client_id: "us",
            client_secret: "a-secret-between-the-two",
            redirect_uris: [`${ours}/external/idp/callback`],
            token_endpoint_auth_method: "client_secret_post",
        },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    // The addresses stand in the ID token itself.
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: id, email: `${id.split("-")[0]}@example.org`, email_verified: !id.endsWith("-unverified") }),
    }),
});
const server = provider.listen(Number(port), "127.0.0.1");

/** A browser with cookies for each origin, which follows what it is told. */
class Browser {
    jars = new Map();

    async ask(url, options = {}) {
        const jar = this.jars.get(new URL(url).origin) ?? new Map();
        this.jars.set(new URL(url).origin, jar);
        const cookie = [...jar].map(([key, value]) => `${key}=${value}`).join("; ");
        const headers = { ...options.headers, ...(cookie ? { cookie } : {}) };
        const answer = await fetch(url, { ...options, headers, redirect: "manual" });
        for (const line of answer.headers.getSetCookie()) {
            const [pair] = line.split(";");
            const at = pair.indexOf("=");
            if (at + 1 < pair.length) jar.set(pair.slice(0, at), pair.slice(at + 1));
            else jar.delete(pair.slice(0, at));
        }
        if (answer.status < 300 || answer.status >= 400) return { url: `${url}`, status: answer.status, text: await answer.text() };
        const next = new URL(answer.headers.get("location"), url);
        this.last = next;
        return this.ask(next);
    }

    /** Signs in over there as `who`, and comes back. */
    async signIn(who) {
        let page = await this.ask(`${ours}/external/idp?next=%2Faccount`);
        for (let step = 0; step < 3 && page.url.startsWith(issuer); step += 1) {
            const action = /action="([^"]*)"/.exec(page.text)[1];
            const prompt = /name="prompt" value="([^"]*)"/.exec(page.text)[1];
            const body = new URLSearchParams({ prompt, ...(prompt === "login" ? { login: who, password: "x" } : {}) });
            page = await this.ask(new URL(action, page.url), { method: "POST", body });
        }
        return { path: new URL(page.url).pathname, status: page.status, as: /signed in as <strong>([^<]*)/.exec(page.text)?.[1] };
    }
}

const said = {};
for (const who of people.split(",")) {
    const key = said[who] ? `${who}-again` : who;
    said[key] = await new Browser().signIn(who);
}
console.log(JSON.stringify(said));
server.close();
process.exit(0);
