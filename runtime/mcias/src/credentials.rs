//! Owns what proves that somebody is the owner of an account: the hash of a password, a key of one-time codes (RFC 6238)
//! with the last step that was used, and recovery codes. All of it in one record, so that whoever comes second of two
//! that use the same code finds it used.

use aws_lc_rs::constant_time;
use effect::{Code, Error, Hidden, Result, Sealer};
use journal::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use crate::name::Name;
use crate::passkey::{self, Assertion, Refusal, Relying};
use crate::random;

/// RFC 4226, section 4, recommends 160 bits.
const KEY: usize = 20;
const STEP: u64 = 30;
const RECOVERY_CODES: usize = 10;
/// RFC 4648 without what is easily taken for something else is Crockford's; 32 letters, five bits each.
pub(crate) const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LETTERS_OF_A_CODE: usize = 16;
/// Longer ones are none.
const LONGEST_CODE: usize = 64;

/// What proves who somebody is.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// The id of the account: another one under the same name does not inherit them.
    pub(crate) account: String,
    /// The hash of the password, as a PHC string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<Hidden>,
    /// One-time codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) totp: Option<Codes>,
    /// The key of one-time codes that were not shown to work yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) enrolling: Option<Hidden>,
    /// Passkeys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) passkeys: Vec<Passkey>,
    /// Hashes of recovery codes that were not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) recovery: Vec<String>,
}

/// A passkey.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Passkey {
    /// The key's id, in base64url.
    pub(crate) id: String,
    /// What its owner calls it.
    pub(crate) name: String,
    /// The public key (COSE), in base64url.
    pub(crate) key: String,
    /// How often it signed, where it counts.
    pub(crate) counter: u32,
    /// Whether its maker lets it be copied to other devices.
    pub(crate) can_be_copied: bool,
    /// When it was made, in unix milliseconds.
    pub(crate) made: i64,
    /// When it was used last, in unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<i64>,
}

/// One-time codes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Codes {
    key: Hidden,
    /// Neither this step nor an earlier one is taken again.
    last_step: u64,
}

/// What somebody shows first, as rules of the login policy name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirstFactor {
    /// A password.
    Password,
    /// A passkey.
    Passkey,
    /// The word of another issuer, such as GitHub.
    External,
}

impl FirstFactor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Password, Self::Passkey, Self::External];

    /// The word for it, as in a rule.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Passkey => "passkey",
            Self::External => "external",
        }
    }
}

/// A passkey as somebody shows it.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The party that asked for it.
    pub relying: &'a Relying,
    /// What the browser answered.
    pub answer: &'a Assertion,
}

/// A first factor as somebody gives it.
#[derive(Clone, Copy)]
pub enum First<'a> {
    /// A password.
    Password(&'a str),
    /// A passkey. It says itself whose it is where no name is given.
    Passkey(Shown<'a>),
    /// Another issuer said who it is, and its word was checked before.
    External {
        /// The id of the account that the issuer's word stands for: another one under the same name is not meant.
        account: &'a str,
    },
}

impl std::fmt::Debug for First<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.factor().as_str())
    }
}

impl First<'_> {
    /// Which one it is.
    #[must_use]
    pub fn factor(&self) -> FirstFactor {
        match self {
            Self::Password(_) => FirstFactor::Password,
            Self::Passkey(_) => FirstFactor::Passkey,
            Self::External { .. } => FirstFactor::External,
        }
    }
}

/// A second factor that an account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    /// A one-time code.
    Totp,
    /// A passkey.
    Passkey,
    /// A recovery code.
    Recovery,
}

impl Factor {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Passkey => "passkey",
            Self::Recovery => "recovery",
        }
    }
}

/// A second factor as somebody gives it.
#[derive(Clone, Copy)]
pub enum Second<'a> {
    /// A one-time code.
    Totp(&'a str),
    /// A passkey.
    Passkey(Shown<'a>),
    /// A recovery code.
    Recovery(&'a str),
}

impl std::fmt::Debug for Second<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.factor().as_str())
    }
}

impl Second<'_> {
    /// Which one it is.
    #[must_use]
    pub fn factor(&self) -> Factor {
        match self {
            Self::Totp(_) => Factor::Totp,
            Self::Passkey(_) => Factor::Passkey,
            Self::Recovery(_) => Factor::Recovery,
        }
    }
}

/// A code that is taken once.
#[derive(Clone, Copy)]
pub(crate) enum OneTime<'a> {
    Totp(&'a str),
    Recovery(&'a str),
}

/// What is shown once to whoever enrols.
pub struct Enrolment {
    /// The key in base 32.
    pub key: Zeroizing<String>,
    /// The same as an address that apps read from a picture.
    pub url: Zeroizing<String>,
}

impl Credentials {
    pub(crate) fn of(account: &str) -> Self {
        Self {
            account: account.to_owned(),
            password: None,
            totp: None,
            enrolling: None,
            passkeys: Vec::new(),
            recovery: Vec::new(),
        }
    }

    /// The hash of the password.
    pub(crate) fn hash(&self, sealer: &Sealer) -> Result<Option<Zeroizing<String>>> {
        let Some(password) = &self.password else { return Ok(None) };
        let opened = sealer.open_hidden(password)?;
        Ok(Some(Zeroizing::new(String::from_utf8_lossy(&opened).into_owned())))
    }

    /// The second factors that can be asked for; none where there is no second factor.
    pub(crate) fn factors(&self) -> Vec<Factor> {
        let totp = self.totp.as_ref().map(|_| Factor::Totp);
        let passkey = (!self.passkeys.is_empty()).then_some(Factor::Passkey);
        let recovery = (self.has_second_factor() && !self.recovery.is_empty()).then_some(Factor::Recovery);
        totp.into_iter().chain(passkey).chain(recovery).collect()
    }

    /// Those of them that can be asked for after `first`: one thing is not two.
    pub(crate) fn factors_after(&self, first: FirstFactor) -> Vec<Factor> {
        match first {
            FirstFactor::Passkey if self.totp.is_none() => Vec::new(),
            FirstFactor::Passkey => {
                self.factors().into_iter().filter(|factor| *factor != Factor::Passkey).collect()
            }
            FirstFactor::Password | FirstFactor::External => self.factors(),
        }
    }

    pub(crate) fn has_second_factor(&self) -> bool {
        self.totp.is_some() || !self.passkeys.is_empty()
    }

    /// The passkey with this id.
    pub(crate) fn passkey(&self, id: &[u8]) -> Option<&Passkey> {
        let id = random::encoded(id);
        self.passkeys.iter().find(|passkey| passkey.id == id)
    }

    /// Begins an enrolment: nothing is asked for before one code has shown that the key arrived.
    pub(crate) fn enrol(&mut self, sealer: &Sealer, name: &Name, issuer: &str) -> Result<Enrolment> {
        if self.totp.is_some() {
            return Err(Error::new(Code::SecondFactor, format!("`{name}` has one-time codes already"))
                .hint("reset its second factors first"));
        }
        let key = random::bytes::<KEY>()?;
        let totp = totp(&*key, Some((name, issuer)))?;
        let url = totp
            .to_url()
            .map_err(|_| Error::new(Code::Internal, "the address of one-time codes cannot be made"))?;
        self.enrolling = Some(sealer.hide(&*key));
        Ok(Enrolment { key: Zeroizing::new(totp.secret().to_base32()), url: Zeroizing::new(url) })
    }

    /// Ends an enrolment with a code that only who has the key knows, and gives the recovery codes.
    pub(crate) fn confirm(
        &mut self,
        sealer: &Sealer,
        code: &str,
        now: Timestamp,
    ) -> Result<Vec<Zeroizing<String>>> {
        let Some(key) = self.enrolling.take() else {
            return Err(Error::new(Code::SecondFactor, "no enrolment of one-time codes is under way"));
        };
        let Some(step) = matching_step(&sealer.open_hidden(&key)?, code, now, None)? else {
            return Err(Error::new(Code::SecondFactor, "the one-time code is wrong"));
        };
        self.totp = Some(Codes { key, last_step: step });
        self.renew_recovery()
    }

    /// Looks at a passkey's answer, as far as what is on record of the account goes.
    pub(crate) fn check_passkey(&self, asserted: &passkey::Asserted) -> std::result::Result<(), Refusal> {
        let known = self.passkey(&asserted.id).ok_or(Refusal::UnknownKey)?;
        if asserted.user_handle.as_deref().is_some_and(|handle| handle != self.account.as_bytes()) {
            return Err(Refusal::UserHandle);
        }
        let key = random::decoded(&known.key).ok_or(Refusal::UnknownKey)?;
        asserted.verify(&key)?;
        if asserted.can_be_copied != known.can_be_copied {
            return Err(Refusal::Backup);
        }
        // A key that does not count says nought for ever.
        let counts = asserted.counter != 0 || known.counter != 0;
        if counts && asserted.counter <= known.counter {
            return Err(Refusal::Counter);
        }
        Ok(())
    }

    /// Notes that a passkey was used.
    pub(crate) fn use_passkey(&mut self, asserted: &passkey::Asserted, now: Timestamp) {
        let id = random::encoded(&asserted.id);
        if let Some(known) = self.passkeys.iter_mut().find(|passkey| passkey.id == id) {
            known.counter = asserted.counter;
            known.used = Some(now.0);
        }
    }

    /// Puts new recovery codes in the place of those before.
    pub(crate) fn renew_recovery(&mut self) -> Result<Vec<Zeroizing<String>>> {
        let codes = (0..RECOVERY_CODES).map(|_| recovery_code()).collect::<Result<Vec<_>>>()?;
        self.recovery = codes.iter().map(|code| self.recovery_hash(code)).collect();
        Ok(codes)
    }

    /// Uses a code up. False where it is none, or was used.
    pub(crate) fn redeem(&mut self, sealer: &Sealer, code: OneTime<'_>, now: Timestamp) -> Result<bool> {
        match code {
            OneTime::Totp(code) => {
                let Some(codes) = &mut self.totp else { return Ok(false) };
                let key = sealer.open_hidden(&codes.key)?;
                let step = matching_step(&key, code, now, Some(codes.last_step))?;
                codes.last_step = step.unwrap_or(codes.last_step);
                Ok(step.is_some())
            }
            OneTime::Recovery(code) if self.has_second_factor() && code.len() <= LONGEST_CODE => {
                let hash = self.recovery_hash(code);
                let is_it = |known: &String| {
                    constant_time::verify_slices_are_equal(known.as_bytes(), hash.as_bytes()).is_ok()
                };
                let before = self.recovery.len();
                self.recovery.retain(|known| !is_it(known));
                Ok(self.recovery.len() < before)
            }
            OneTime::Recovery(_) => Ok(false),
        }
    }

    /// Eighty random bits need no slow hash; the account's id keeps equal codes apart.
    fn recovery_hash(&self, code: &str) -> String {
        let plain = code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
        let salted: Zeroizing<String> =
            Zeroizing::new(self.account.chars().chain([':']).chain(plain).collect());
        random::encoded(&random::sha256(salted.as_bytes()))
    }
}

fn recovery_code() -> Result<Zeroizing<String>> {
    let bytes = random::bytes::<LETTERS_OF_A_CODE>()?;
    let mut code = Zeroizing::new(String::with_capacity(LETTERS_OF_A_CODE + 3));
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 4 == 0 {
            code.push('-');
        }
        code.push(char::from(LETTERS[usize::from(byte % 32)]));
    }
    Ok(code)
}

fn totp(key: &[u8], label: Option<(&Name, &str)>) -> Result<Totp> {
    let builder = Builder::new().with_step_duration(STEP).with_secret(key.to_vec().into_boxed_slice());
    let builder = match label {
        Some((name, issuer)) => builder.with_account_name(name.as_str()).with_issuer(Some(issuer)),
        None => builder,
    };
    // What it says is about the key, so it is not repeated.
    builder.build().map_err(|_| Error::new(Code::Internal, "the key of one-time codes makes no sense"))
}

/// The step at which `code` was shown: this one, or one before or after it for clocks that differ (RFC 6238, section 5.2).
fn matching_step(key: &[u8], code: &str, now: Timestamp, after: Option<u64>) -> Result<Option<u64>> {
    let plain: Zeroizing<String> =
        Zeroizing::new(code.chars().take(LONGEST_CODE).filter(|c| !c.is_whitespace()).collect());
    let totp = totp(key, None)?;
    let present = u64::try_from(now.0 / 1000).unwrap_or(0) / STEP;
    let mut found = None;
    for step in [present.saturating_sub(1), present, present + 1] {
        let expected = totp.generate(step * STEP).to_string();
        let is_it = constant_time::verify_slices_are_equal(expected.as_bytes(), plain.as_bytes()).is_ok();
        if is_it && after.is_none_or(|after| step > after) {
            found = Some(step);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrolled(sealer: &Sealer, now: Timestamp) -> (Credentials, Totp, Vec<Zeroizing<String>>) {
        let mut credentials = Credentials::of("an-id");
        let name = "alice".parse().unwrap();
        let enrolment = credentials.enrol(sealer, &name, "mcrun test").unwrap();
        assert!(enrolment.url.starts_with("otpauth://totp/"), "{}", &**enrolment.url);
        let key = totp_rs::Secret::try_from_base32(enrolment.key.as_str()).unwrap();
        let totp = totp(key.as_bytes(), None).unwrap();
        assert!(credentials.factors().is_empty(), "what was not confirmed is asked for");
        let code = totp.generate(now.0 as u64 / 1000).to_string();
        let recovery = credentials.confirm(sealer, &code, now).unwrap();
        (credentials, totp, recovery)
    }

    #[test]
    fn the_vectors_of_rfc_6238_hold() {
        let key = b"12345678901234567890";
        for (at, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            let step = matching_step(key, code, Timestamp(at * 1000), None).unwrap();
            assert_eq!(step, Some(at as u64 / 30), "{code}");
        }
    }

    #[test]
    fn a_step_is_taken_once() {
        let (sealer, now) = (Sealer::ephemeral(), Timestamp(1_700_000_000_000));
        let (mut credentials, totp, _) = enrolled(&sealer, now);
        let code = |at: Timestamp| totp.generate(at.0 as u64 / 1000).to_string();
        assert!(
            !credentials.redeem(&sealer, OneTime::Totp(&code(now)), now).unwrap(),
            "the code of the enrolment"
        );
        let later = Timestamp(now.0 + 30_000);
        assert!(credentials.redeem(&sealer, OneTime::Totp(&code(later)), later).unwrap());
        let again: Credentials = serde_json::from_str(&serde_json::to_string(&credentials).unwrap()).unwrap();
        for mut credentials in [credentials, again] {
            assert!(!credentials.redeem(&sealer, OneTime::Totp(&code(later)), later).unwrap());
            assert!(
                !credentials.redeem(&sealer, OneTime::Totp(&code(now)), later).unwrap(),
                "an earlier step"
            );
        }
    }

    #[test]
    fn a_recovery_code_is_taken_once_however_it_is_written() {
        let (sealer, now) = (Sealer::ephemeral(), Timestamp(1_700_000_000_000));
        let (mut credentials, _, codes) = enrolled(&sealer, now);
        assert_eq!(codes.len(), 10);
        let shouted = codes[3].to_uppercase().replace('-', " ");
        assert!(credentials.redeem(&sealer, OneTime::Recovery(&shouted), now).unwrap());
        assert!(!credentials.redeem(&sealer, OneTime::Recovery(&codes[3]), now).unwrap());
        assert!(credentials.redeem(&sealer, OneTime::Recovery(&codes[4]), now).unwrap());
        for wrong in ["", "0000-0000-0000-0000", &"x".repeat(100_000)] {
            assert!(!credentials.redeem(&sealer, OneTime::Recovery(wrong), now).unwrap());
        }
    }

    #[test]
    fn nothing_of_it_lies_open() {
        let (sealer, now) = (Sealer::ephemeral(), Timestamp(1_700_000_000_000));
        let (credentials, totp, codes) = enrolled(&sealer, now);
        let text = serde_json::to_string(&credentials).unwrap();
        assert!(!text.contains(&totp.secret().to_base32()));
        assert!(codes.iter().all(|code| !text.contains(code.as_str())));
    }

    #[test]
    fn an_enrolment_ends_with_a_right_code_alone() {
        let (sealer, now) = (Sealer::ephemeral(), Timestamp(1_700_000_000_000));
        let mut credentials = Credentials::of("an-id");
        let refused = credentials.confirm(&sealer, "000000", now).unwrap_err();
        assert_eq!(refused.code, Code::SecondFactor);
        let (credentials, ..) = enrolled(&sealer, now);
        let again = credentials.clone().enrol(&sealer, &"alice".parse().unwrap(), "mcrun");
        assert_eq!(again.map(|_| ()).unwrap_err().code, Code::SecondFactor);
    }
}
