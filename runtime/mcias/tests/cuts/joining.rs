//! Accounts of people whom another issuer vouches for: made with their link, or not at all.

use mcias::external::Facts;

use super::*;

fn facts() -> Facts {
    Facts {
        provider: name("idp"),
        subject: "7".into(),
        verified_email: Some("carol@example.org".parse().unwrap()),
    }
}

async fn joined(service: &Embedded) -> Option<Account> {
    service.join(&facts(), &[Role::Guest].into(), &BTreeSet::new()).await.ok().map(|made| made.unwrap())
}

/// Whoever was made is linked, and comes back as the same.
async fn is_whole(service: &Embedded) -> usize {
    let accounts = async || service.accounts().await.unwrap().len();
    let before = accounts().await;
    let known = service.known_by(&facts(), false).await.unwrap();
    assert_eq!(known.is_ok(), before == 2, "an account without its link, or a link without its account");
    let account = joined(service).await.unwrap();
    assert!(known.is_err() || known.unwrap().id == account.id);
    assert_eq!(accounts().await, 2);
    before - 1
}

#[tokio::test]
async fn a_kill_anywhere_makes_an_account_with_its_link_or_none() {
    let place = Place::new().await;
    let disk = Disk::of(place.folder.path());
    let service = opened(place.folder.path(), &place.clock);
    *disk.left.lock().unwrap() = Some(Vec::new());
    joined(&service).await.unwrap();
    let left = disk.left.lock().unwrap().take().unwrap();
    let mut kinds = BTreeSet::new();
    for folder in left {
        kinds.insert(is_whole(&opened(folder.path(), &place.clock)).await);
    }
    assert_eq!(kinds, [0, 1].into(), "the kill came before and after the commit");
}

#[tokio::test]
async fn a_full_disk_anywhere_makes_an_account_with_its_link_or_none() {
    let place = Place::new().await;
    let (mut struck, mut told) = (0, 0);
    for from in 0..12 {
        let folder = copied(place.folder.path());
        let disk = Disk::of(folder.path());
        let service = opened(folder.path(), &place.clock);
        let begin = disk.operations.load(Ordering::Relaxed);
        disk.full_from.store(begin + from, Ordering::Relaxed);
        let made = joined(&service).await;
        drop(service);
        disk.full_from.store(usize::MAX, Ordering::Relaxed);
        struck += usize::from(disk.is_struck.load(Ordering::Relaxed));
        told += usize::from(made.is_some());
        let before = is_whole(&opened(folder.path(), &place.clock)).await;
        assert!(made.is_none() || before == 1, "what was told is there");
    }
    assert!(struck >= 2 && told >= 2, "the disk was full {struck} times, and {told} were made");
}
