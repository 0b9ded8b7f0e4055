// Owns what pages with passkeys do: a form that makes one, and buttons that have one fill a sign-in form.
"use strict";

const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));

const text = (buffer) => {
    const letters = Array.from(new Uint8Array(buffer), (octet) => String.fromCharCode(octet)).join("");
    return btoa(letters).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
};

const ask = async (path, body, proof) => {
    const headers = { "content-type": "application/json" };
    if (proof) headers["x-csrf"] = proof;
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    const said = answer.status === 204 ? {} : await answer.json();
    if (!answer.ok) throw new Error(said.error.message);
    return said;
};

const keys = (list) => list.map((key) => ({ ...key, id: bytes(key.id) }));

const make = async (name, proof) => {
    const options = await ask("/passkeys/new/options", {}, proof);
    options.challenge = bytes(options.challenge);
    options.user.id = bytes(options.user.id);
    options.excludeCredentials = keys(options.excludeCredentials);
    const made = await navigator.credentials.create({ publicKey: options });
    const passkey = {
        id: text(made.rawId),
        client_data: text(made.response.clientDataJSON),
        attestation: text(made.response.attestationObject),
    };
    return ask("/passkeys/new", { name, passkey }, proof);
};

const show = async (second) => {
    const { options } = await ask("/passkeys/options", { second });
    options.challenge = bytes(options.challenge);
    options.allowCredentials = keys(options.allowCredentials);
    const shown = await navigator.credentials.get({ publicKey: options });
    const { clientDataJSON, authenticatorData, signature, userHandle } = shown.response;
    return {
        id: text(shown.rawId),
        client_data: text(clientDataJSON),
        authenticator_data: text(authenticatorData),
        signature: text(signature),
        ...(userHandle ? { user_handle: text(userHandle) } : {}),
    };
};

const says = (form, words) => {
    const status = form.querySelector("[role=status]");
    if (status) status.textContent = words;
};

for (const form of document.querySelectorAll("form[data-passkey=new]")) {
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        try {
            const made = await make(form.elements.name.value, form.elements.csrf.value);
            says(form, made.recovery.length ? "Added. Keep these codes: each works once." : "Added.");
            for (const code of made.recovery) {
                const item = document.createElement("li");
                item.textContent = code;
                form.querySelector("ul").append(item);
            }
        } catch (error) {
            says(form, error.message);
        }
    });
}

// A button in a sign-in form: what the passkey answers goes into the field `passkey`, and the form is sent.
for (const button of document.querySelectorAll("button[data-passkey]")) {
    button.addEventListener("click", async (event) => {
        event.preventDefault();
        try {
            button.form.elements.passkey.value = JSON.stringify(await show(button.dataset.passkey === "second"));
            button.form.submit();
        } catch (error) {
            says(button.form, error.message);
        }
    });
}
