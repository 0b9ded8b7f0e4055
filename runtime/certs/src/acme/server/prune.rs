//! Owns forgetting: what has expired is taken out, so that the records do not grow with time.

use super::Inner;
use super::problem::Outcome;
use super::record::{ACCOUNT, Account, ORDER, REPLACED, Replaced};

impl Inner {
    /// Takes out what has expired: orders, and marks of successors.
    pub(super) async fn prune(&self) -> Outcome<usize> {
        let mut count = 0;
        for (id, seen) in self.store.read_all::<Account>(ACCOUNT).await? {
            let now = self.store.now();
            if !seen.orders.iter().any(|listed| listed.expires <= now) {
                continue;
            }
            let _lock = self.store.lock(&id).await;
            let Some(mut account) = self.store.read::<Account>(ACCOUNT, &id).await? else { continue };
            let (expired, kept): (Vec<_>, Vec<_>) =
                account.orders.into_iter().partition(|listed| listed.expires <= now);
            account.orders = kept;
            let mut writes: Vec<_> =
                expired.iter().map(|listed| self.store.remove(ORDER, &listed.id)).collect();
            count += writes.len();
            writes.push(self.store.put(ACCOUNT, &id, &account)?);
            self.store.write(writes).await?;
        }
        let now = self.store.now();
        let marks = self.store.read_all::<Replaced>(REPLACED).await?;
        let over = marks.iter().filter(|(_, mark)| mark.until <= now);
        let writes: Vec<_> = over.map(|(serial, _)| self.store.remove(REPLACED, serial)).collect();
        count += writes.len();
        if !writes.is_empty() {
            self.store.write(writes).await?;
        }
        Ok(count)
    }
}
