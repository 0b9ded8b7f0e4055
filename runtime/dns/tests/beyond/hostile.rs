//! What nobody means well with.

use crate::bench::{Server, Setup};

#[tokio::test]
async fn what_is_no_message_is_not_answered() {
    let server = Server::start(Setup::default()).await;
    assert_eq!(server.ask(b"").await, None);
    assert_eq!(server.ask(&[0; 11]).await, None);
}
