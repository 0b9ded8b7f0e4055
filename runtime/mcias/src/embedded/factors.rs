//! Owns second factors of accounts: enrolling, renewing, resetting. Using them up is [`super::entry`]'s.

use effect::Result;
use zeroize::Zeroizing;

use super::Embedded;
use crate::credentials::{Credentials, Enrolment, Factor};
use crate::name::Name;
use crate::witness::Event;

impl Embedded {
    /// Which second factors an account has.
    ///
    /// # Errors
    /// `MC-W002` for an account that is not there.
    pub async fn factors(&self, name: &Name) -> Result<Vec<Factor>> {
        let account = self.known_account(name).await?;
        let credentials = self.credentials(&account).await?;
        Ok(credentials.map(|credentials| credentials.factors()).unwrap_or_default())
    }

    /// Begins the enrolment of one-time codes. What it gives is shown once.
    ///
    /// # Errors
    /// `MC-W012` for an account that has them already.
    pub async fn enrol_totp(&self, name: &Name) -> Result<Enrolment> {
        let account = self.known_account(name).await?;
        let enrolled = self.change_credentials(&account, |credentials| {
            credentials.enrol(&self.sealer, name, self.settings.label()).map(Some)
        });
        enrolled.await?.ok_or_else(nothing)
    }

    /// Ends the enrolment with a code, and gives the recovery codes. They are shown once.
    ///
    /// # Errors
    /// `MC-W012` for a wrong code, or without an enrolment under way.
    pub async fn confirm_totp(&self, name: &Name, code: &str) -> Result<Vec<Zeroizing<String>>> {
        let (account, now) = (self.known_account(name).await?, self.now());
        let confirmed = self.change_credentials(&account, |credentials| {
            credentials.confirm(&self.sealer, code, now).map(Some)
        });
        let codes = confirmed.await?.ok_or_else(nothing)?;
        self.tell(Event::SecondFactor { account: name.clone(), what: "enrolled" }).await?;
        Ok(codes)
    }

    /// Puts new recovery codes in the place of those before.
    ///
    /// # Errors
    /// `MC-W002` for an account that is not there.
    pub async fn renew_recovery(&self, name: &Name) -> Result<Vec<Zeroizing<String>>> {
        let account = self.known_account(name).await?;
        let renewed = self.change_credentials(&account, |credentials| credentials.renew_recovery().map(Some));
        let codes = renewed.await?.ok_or_else(nothing)?;
        self.tell(Event::SecondFactor { account: name.clone(), what: "renewed" }).await?;
        Ok(codes)
    }

    /// Takes every second factor away: for somebody who has lost the device.
    ///
    /// # Errors
    /// `MC-W002` for an account that is not there.
    pub async fn reset_factors(&self, name: &Name) -> Result<()> {
        let account = self.known_account(name).await?;
        self.change_credentials(&account, |credentials| {
            let password = credentials.password.take();
            *credentials = Credentials { password, ..Credentials::of(&account.id) };
            Ok(Some(()))
        })
        .await?;
        self.tell(Event::SecondFactor { account: name.clone(), what: "reset" }).await
    }
}

fn nothing() -> effect::Error {
    effect::Error::new(effect::Code::Internal, "a change of second factors has no outcome")
}
