//! Owns signed requests (RFC 7515 as RFC 8555, section 6.2 narrows it): one signature, everything in the protected header.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::jwk::{ALGORITHMS, Jwk};
use super::problem::{Kind, Outcome, Problem};

/// A request of a hundred names fits many times, and so does a key of 8192 bits.
pub const LONGEST: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    protected: String,
    payload: String,
    signature: String,
}

/// Unknown fields are refused: `crit` and `b64` among them would change what was signed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    url: String,
    nonce: Option<String>,
    kid: Option<String>,
    jwk: Option<Value>,
    /// Says nothing that counts here; some libraries write it.
    #[serde(rename = "typ")]
    _typ: Option<String>,
}

/// Who says to have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// The address of an account, or the id of a key that both sides share.
    Kid(String),
    /// The key itself.
    Jwk(Jwk),
}

/// A signed request that was read and not verified yet.
#[derive(Debug)]
pub(super) struct Jws {
    pub(super) algorithm: String,
    pub(super) url: String,
    pub(super) nonce: Option<String>,
    pub(super) identity: Identity,
    pub(super) payload: Vec<u8>,
    /// What the signature is over.
    pub(super) signed: String,
    pub(super) signature: Vec<u8>,
}

impl Jws {
    /// Reads a request.
    pub(super) fn from_bytes(body: &[u8]) -> Outcome<Self> {
        if body.len() > LONGEST {
            let problem = Problem::malformed(format!("a request is at most {LONGEST} bytes long"));
            return Err(problem.with_status(http::StatusCode::PAYLOAD_TOO_LARGE));
        }
        let flattened: Flattened = serde_json::from_slice(body)
            .map_err(|error| Problem::malformed(format!("this is no flattened JWS: {error}")))?;
        let header: Header = serde_json::from_slice(&decode(&flattened.protected, "protected")?)
            .map_err(|error| Problem::malformed(format!("the protected header cannot be used: {error}")))?;
        let identity = match (header.kid, header.jwk) {
            (Some(kid), None) => Identity::Kid(kid),
            (None, Some(jwk)) => {
                // Said before the key is looked at: a shared key is no key here, whatever it holds.
                if !ALGORITHMS.contains(&header.alg.as_str()) {
                    return Err(unknown_algorithm());
                }
                Identity::Jwk(Jwk::from_json(&jwk)?)
            }
            _ => return Err(Problem::malformed("the protected header has one of `kid` and `jwk`")),
        };
        let payload = decode(&flattened.payload, "payload")?;
        let signature = decode(&flattened.signature, "signature")?;
        let signed = format!("{}.{}", flattened.protected, flattened.payload);
        Ok(Self {
            algorithm: header.alg,
            url: header.url,
            nonce: header.nonce,
            identity,
            payload,
            signed,
            signature,
        })
    }

    /// Checks the signature with a public key.
    pub(super) fn verify(&self, key: &Jwk) -> Outcome<()> {
        if !ALGORITHMS.contains(&self.algorithm.as_str()) {
            return Err(unknown_algorithm());
        }
        key.verify(&self.algorithm, self.signed.as_bytes(), &self.signature)
    }

    /// Whether it only asks to see something (RFC 8555, section 6.3).
    pub(super) fn is_reading(&self) -> bool {
        self.payload.is_empty()
    }

    /// What it says.
    pub(super) fn says<T: DeserializeOwned>(&self) -> Outcome<T> {
        // A list would be taken for the fields in their order.
        if self.payload.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Problem::malformed("the payload is not a JSON object"));
        }
        serde_json::from_slice(&self.payload)
            .map_err(|error| Problem::malformed(format!("the payload cannot be used: {error}")))
    }

    /// Refuses whatever says something where only reading makes sense.
    pub(super) fn only_reads(&self) -> Outcome<()> {
        if self.is_reading() {
            Ok(())
        } else {
            Err(Problem::malformed("this can only be read: leave the payload empty"))
        }
    }
}

fn unknown_algorithm() -> Problem {
    let detail = format!("requests are signed with one of {}", ALGORITHMS.join(", "));
    Problem::new(Kind::BadSignatureAlgorithm, detail)
}

fn decode(text: &str, name: &str) -> Outcome<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Problem::malformed(format!("`{name}` is not base64url without padding")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(header: &Value) -> Vec<u8> {
        let protected = URL_SAFE_NO_PAD.encode(header.to_string());
        json!({ "protected": protected, "payload": "", "signature": "" }).to_string().into_bytes()
    }

    fn refusal(body: &[u8]) -> Kind {
        Jws::from_bytes(body).unwrap_err().kind
    }

    #[test]
    fn whatever_is_not_one_flat_signature_is_refused() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"a","url":"b"}"#);
        for bad in [
            String::new(),
            "[]".into(),
            format!(r#"{{"protected":"{header}","payload":""}}"#),
            format!(r#"{{"protected":"{header}","payload":"","signature":"","header":{{}}}}"#),
            format!(r#"{{"protected":"{header}","protected":"{header}","payload":"","signature":""}}"#),
            format!(r#"{{"payload":"","signatures":[{{"protected":"{header}","signature":""}}]}}"#),
            format!(r#"{{"protected":"{header}=","payload":"","signature":""}}"#),
            format!(r#"{{"protected":"{header}","payload":"+/","signature":""}}"#),
        ] {
            assert_eq!(refusal(bad.as_bytes()), Kind::Malformed, "{bad}");
        }
        assert_eq!(Jws::from_bytes(&vec![b' '; LONGEST + 1]).unwrap_err().status, 413);
    }

    #[test]
    fn the_header_says_who_signs_in_one_way() {
        let both = json!({ "alg": "ES256", "url": "u", "kid": "a", "jwk": {} });
        let neither = json!({ "alg": "ES256", "url": "u" });
        let critical = json!({ "alg": "ES256", "url": "u", "kid": "a", "crit": ["b64"], "b64": false });
        for bad in [both, neither, critical] {
            assert_eq!(refusal(&body(&bad)), Kind::Malformed, "{bad}");
        }
    }

    #[test]
    fn no_signature_and_shared_keys_are_no_way_to_sign() {
        for algorithm in ["none", "HS256", "RS1", "es256", ""] {
            let header = json!({ "alg": algorithm, "url": "u", "jwk": { "kty": "oct", "k": "AAAA" } });
            assert_eq!(refusal(&body(&header)), Kind::BadSignatureAlgorithm, "{algorithm}");
        }
    }
}
