//! Owns what is done about calls: files that changed, webhooks that were called. A call of a webhook counts once, however
//! it comes again.

use effect::{Result, Timestamp};
use serde_json::Value;

use super::go::Happening;
use super::{Engine, Told, Verdict};
use crate::metrics::Metrics;
use crate::triggers::occurrence::{Occurrence, Outcome};
use crate::triggers::webhook::deliveries::{Recalled, recall};

impl Engine {
    /// Deals with a call of a webhook, or with files that changed.
    pub(super) async fn take(&mut self, told: Told) -> Result<Verdict> {
        self.adopt().await?;
        let Told { trigger, moment, at, event, mut beside, marks, is_ignored } = told;
        let Some(armed) = self.armed.get(&trigger) else { return Ok(Verdict::Gone) };
        let (at_most, now) = (armed.at_most(), self.now());
        match recall(&self.means.journal, &self.means.node, &trigger, &marks, now).await? {
            Recalled::First(writes) => beside.extend(writes),
            Recalled::Again => return Ok(Verdict::Known),
            Recalled::Twin { signature, until } => {
                self.refuse(&trigger, &signature, until, at).await?;
                return Ok(Verdict::Known);
            }
        }
        if is_ignored {
            self.write(beside).await?;
            return Ok(Verdict::Ignored);
        }
        let wait = at_most.and_then(|at_most| self.memory.too_often(&trigger, at_most, now));
        if let Some(wait) = wait {
            return Ok(Verdict::TooOften(wait));
        }
        let (missed, waits, advance) = (0, false, None);
        self.go_off(Happening { trigger, moment, at, event, missed, waits, advance, beside }).await
    }

    /// Records that a call is left out because another one had the same body. Somebody may mean it, which a forge's
    /// signature does not tell; one record stands for all that come, or whoever has seen a call could fill the list.
    async fn refuse(
        &mut self,
        trigger: &str,
        signature: &str,
        until: Timestamp,
        at: Timestamp,
    ) -> Result<()> {
        let Some(armed) = self.armed.get(trigger) else { return Ok(()) };
        let name = format!("{trigger}/{signature}-{:014}", until.0);
        if self.memory.knows(&name) {
            return Ok(());
        }
        let why = format!(
            "another call had the same body; `window` says how long that is refused, now until {until}"
        );
        let occurrence = Occurrence {
            playbook: armed.playbook.definition.name.clone(),
            trigger: armed.text.clone(),
            at,
            outcome: Outcome::Skipped,
            reason: Some(why),
            missed: 0,
            event: Value::Null,
            run: None,
            since: at,
        };
        let mut writes = self.make_room(trigger);
        writes.push(occurrence.write(&self.means.node, &name, journal::Expect::Any));
        self.write(writes).await?;
        self.memory.remember(&name, Outcome::Skipped, self.now());
        let Occurrence { playbook, trigger, reason, .. } = &occurrence;
        Metrics::shared().occurrence(playbook, Outcome::Skipped.as_str());
        tracing::info!(playbook, trigger, why = reason, "skipped");
        Ok(())
    }
}
