//! Keys that rotate, and tokens that are ordered meanwhile.

use mcias::driver::Order;

use super::*;

/// How many keys are published.
async fn published(service: &Embedded) -> usize {
    service.key_set().await.unwrap()["keys"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_kill_anywhere_in_a_rotation_or_an_order_leaves_keys_that_verify_and_one_token() {
    let place = Place::new().await;
    let service = opened(place.folder.path(), &place.clock);
    let (alice, mcq) = (service.account(&name("alice")).await.unwrap().unwrap(), name("mcq"));
    let order = |id| Order { account: &alice, service: &mcq, lifetime: None, id };
    let earlier = service.issue(&order("earlier")).await.unwrap();
    let disk = Disk::of(place.folder.path());
    let service = opened(place.folder.path(), &place.clock);
    *disk.left.lock().unwrap() = Some(Vec::new());
    service.rotate_key().await.unwrap();
    let issued = service.issue(&order("later")).await.unwrap();
    let left = disk.left.lock().unwrap().take().unwrap();
    assert!(left.len() >= 4, "{} operations", left.len());
    let mut keys = BTreeSet::new();
    for folder in left {
        let killed = opened(folder.path(), &place.clock);
        assert!(killed.validate(&earlier.text, &mcq).await.unwrap().is_ok());
        keys.insert(killed.key_set().await.unwrap()["keys"].as_array().unwrap().len());
        let (again, once_more) = (killed.issue(&order("later")).await, killed.issue(&order("later")).await);
        let (again, once_more) = (again.unwrap(), once_more.unwrap());
        assert_eq!(*again.text, *once_more.text);
        assert!(killed.validate(&again.text, &mcq).await.unwrap().is_ok());
        assert_eq!(tokens(&killed).await, 2, "one order, one token");
    }
    assert_eq!(keys, [1, 2].into(), "the kill came before and after the new key");
    assert!(opened(place.folder.path(), &place.clock).validate(&issued.text, &mcq).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_full_disk_anywhere_in_a_rotation_or_an_order_leaves_keys_that_verify_and_one_token() {
    let place = Place::new().await;
    let service = opened(place.folder.path(), &place.clock);
    let (alice, mcq) = (service.account(&name("alice")).await.unwrap().unwrap(), name("mcq"));
    let order = |id| Order { account: &alice, service: &mcq, lifetime: None, id };
    let earlier = service.issue(&order("earlier")).await.unwrap();
    drop(service);
    let (mut struck, mut rotated) = (0, 0);
    for from in 0..16 {
        let folder = copied(place.folder.path());
        let disk = Disk::of(folder.path());
        let service = opened(folder.path(), &place.clock);
        let begin = disk.operations.load(Ordering::Relaxed);
        disk.full_from.store(begin + from, Ordering::Relaxed);
        let is_rotated = service.rotate_key().await.is_ok();
        let issued = service.issue(&order("later")).await.ok();
        drop(service);
        disk.full_from.store(usize::MAX, Ordering::Relaxed);
        struck += usize::from(disk.is_struck.load(Ordering::Relaxed));
        rotated += usize::from(is_rotated);
        let service = opened(folder.path(), &place.clock);
        assert!(service.validate(&earlier.text, &mcq).await.unwrap().is_ok());
        let keys = published(&service).await;
        assert!(keys == 2 || keys == 1 && !is_rotated, "a key that was told of is there: {keys}");
        let again = service.issue(&order("later")).await.unwrap();
        assert!(issued.is_none_or(|issued| *issued.text == *again.text), "one order, one token");
        assert!(service.validate(&again.text, &mcq).await.unwrap().is_ok());
        assert_eq!(tokens(&service).await, 2);
        service.rotate_key().await.unwrap();
        assert!(service.validate(&again.text, &mcq).await.unwrap().is_ok(), "whatever signs next");
    }
    assert!(struck >= 4 && rotated >= 1, "the disk was full {struck} times, and not {rotated} times");
}
