//! Callers that use HTTP/2 against the daemon: floods, slowness, size. The others notice nothing.

use std::future::poll_fn;

use api::v1;
use api::v1::watch_run_response::Told;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use effect::Code;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage};

type Sender = SendRequest<Bytes>;

async fn connect(stage: &Stage) -> (Sender, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = UnixStream::connect(stage.socket()).await.unwrap();
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(65_535)
        .max_concurrent_reset_streams(10_000)
        .handshake(stream)
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

fn head(call: &str) -> Request<()> {
    let uri = format!("http://mcrun/mcrun.v1.{call}");
    let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    request.body(()).unwrap()
}

fn framed(message: &impl Message) -> Bytes {
    let mut octets = BytesMut::new();
    octets.put_u8(0);
    octets.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut octets).unwrap();
    octets.freeze()
}

async fn begin(sender: &Sender, head: Request<()>) -> (ResponseFuture, SendStream<Bytes>) {
    let mut ready = timeout(PATIENCE, sender.clone().ready()).await.unwrap().unwrap();
    ready.send_request(head, false).unwrap()
}

/// A call with its whole message.
async fn call(sender: &Sender, name: &str, message: &impl Message) -> ResponseFuture {
    let (response, mut body) = begin(sender, head(name)).await;
    body.send_data(framed(message), true).unwrap();
    response
}

fn failure(headers: &HeaderMap) -> v1::Failure {
    let text = headers.get(api::FAILURE).unwrap_or_else(|| panic!("no failure: {headers:?}"));
    let octets = base64::Engine::decode(&base64::engine::general_purpose::STANDARD_NO_PAD, text).unwrap();
    v1::Failure::decode(&octets[..]).unwrap()
}

/// Whether the daemon answers somebody else, soon.
async fn answers(stage: &Stage) {
    let client = timeout(PATIENCE, stage.client()).await.unwrap();
    let mut calls = client.runs();
    timeout(PATIENCE, client.call(calls.list_runs(tonic::Request::new(Default::default()))))
        .await
        .unwrap()
        .unwrap();
}

/// Messages of a stream, read one by one.
struct Reader {
    body: RecvStream,
    rest: BytesMut,
}

impl Reader {
    async fn next(&mut self) -> Option<v1::WatchRunResponse> {
        loop {
            if self.rest.len() >= 5 {
                let length = (&self.rest[1..5]).get_u32() as usize;
                if self.rest.len() >= 5 + length {
                    let message = self.rest.split_to(5 + length);
                    return Some(v1::WatchRunResponse::decode(&message[5..]).unwrap());
                }
            }
            let data = timeout(PATIENCE, self.body.data()).await.unwrap()?.unwrap();
            self.body.flow_control().release_capacity(data.len()).unwrap();
            self.rest.extend_from_slice(&data);
        }
    }
}

#[tokio::test]
async fn a_caller_that_resets_what_it_asks_for_is_sent_away() {
    let stage = Stage::open().await;
    let (sender, connection) = connect(&stage).await;
    for _ in 0..20_000 {
        let Ok(mut ready) = sender.clone().ready().await else { break };
        let Ok((_, mut body)) = ready.send_request(head("Runs/ListRuns"), false) else { break };
        body.send_reset(h2::Reason::CANCEL);
        if connection.is_finished() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let error = timeout(PATIENCE, connection).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{error}");
    answers(&stage).await;
}

#[tokio::test]
async fn five_hundred_streams_of_one_connection_are_answered() {
    let stage = Stage::open().await;
    let (sender, _connection) = connect(&stage).await;
    let mut open = Vec::new();
    for _ in 0..512 {
        open.push(call(&sender, "Events/WatchEvents", &v1::WatchEventsRequest::default()).await);
    }
    let mut bodies = Vec::new();
    for response in open {
        let response = timeout(PATIENCE, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        bodies.push(response.into_body());
    }
    stage.journal.emit("db.ready", "null").await.unwrap();
    for mut body in bodies {
        let data = timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap();
        let event = v1::WatchEventsResponse::decode(&data[5..]).unwrap();
        assert_eq!(event.name, "db.ready");
    }
}

#[tokio::test]
async fn more_watchers_than_there_are_places_are_refused_until_one_is_free() {
    let stage = Stage::open().await;
    let (first, connection) = connect(&stage).await;
    let (second, _other) = connect(&stage).await;
    let mut open = Vec::new();
    for place in 0..1024 {
        let sender = if place % 2 == 0 { &first } else { &second };
        let response = call(sender, "Events/WatchEvents", &v1::WatchEventsRequest::default()).await;
        open.push(timeout(PATIENCE, response).await.unwrap().unwrap());
    }
    let watch = async || {
        let response = call(&second, "Events/WatchEvents", &v1::WatchEventsRequest::default()).await;
        timeout(PATIENCE, response).await.unwrap().unwrap()
    };
    assert_eq!(failure(watch().await.headers()).code, Code::ApiBusy.as_str());
    answers(&stage).await;
    // The end of a caller frees its places.
    drop(open);
    connection.abort();
    let freed = async { while watch().await.headers().contains_key(api::FAILURE) {} };
    timeout(PATIENCE, freed).await.unwrap();
}

#[tokio::test]
async fn a_reader_three_thousand_messages_behind_delays_nobody_and_misses_nothing() {
    let stage = Stage::open().await;
    let run = stage.executor.any().await;
    let (sender, _connection) = connect(&stage).await;
    let wish = v1::WatchRunRequest { run: run.to_string(), ..Default::default() };
    let response = call(&sender, "Runs/WatchRun", &wish).await;
    let slow = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
    let client = stage.client().await;
    let mut fast = client.watch(&run, false, false).await.unwrap();
    stage.watched_by(&run, 2).await;
    crate::stage::next(&mut fast).await;
    for number in 1..=3000 {
        stage.executor.log(&run, number, &"x".repeat(200));
        // The fast one is told at once, whatever the slow one does.
        match crate::stage::next(&mut fast).await {
            Some(daemon::api::client::Heard::Told(daemon::runs::Told::Log { number: told, .. })) => {
                assert_eq!(told, number);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stage.executor.watchers(&run), 1, "the slow one was left behind");
    stage.executor.finish(&run).await;
    let mut slow = Reader { body: slow, rest: BytesMut::new() };
    let mut last = 0;
    loop {
        match slow.next().await.unwrap().told.unwrap() {
            Told::Standing(_) => {}
            Told::Log(log) => {
                assert_eq!(log.number, last + 1);
                last = log.number;
            }
            Told::End(end) => break assert_eq!(end.run.unwrap().state, "done"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(last, 3000);
}

#[tokio::test]
async fn heads_have_a_bound() {
    let stage = Stage::open().await;
    let (sender, _connection) = connect(&stage).await;
    let mut large = head("Runs/ListRuns");
    large.headers_mut().insert("x-large", "x".repeat(20 << 10).try_into().unwrap());
    let (response, _body) = begin(&sender, large).await;
    match timeout(PATIENCE, response).await.unwrap() {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
    answers(&stage).await;
}

#[tokio::test]
async fn a_message_that_says_that_it_is_huge_is_refused_as_what_it_is() {
    let stage = Stage::open().await;
    let (sender, _connection) = connect(&stage).await;
    let (response, mut body) = begin(&sender, head("Runs/ListRuns")).await;
    body.send_data(Bytes::from_static(b"\0\xff\xff\xff\xffabc"), true).unwrap();
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    let told = failure(response.headers());
    assert!([Code::ApiBusy, Code::ApiRequest].map(Code::as_str).contains(&told.code.as_str()), "{told:?}");
    let (response, mut body) = begin(&sender, head("Runs/ListRuns")).await;
    body.reserve_capacity(3 << 20);
    let mut sent = 0;
    while sent < 3 << 20 {
        let granted = timeout(PATIENCE, poll_fn(|context| body.poll_capacity(context))).await.unwrap();
        let Some(Ok(granted)) = granted else { break };
        if body.send_data(Bytes::from(vec![0; granted]), false).is_err() {
            break;
        }
        sent += granted;
    }
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    assert_eq!(failure(response.headers()).code, Code::ApiBusy.as_str());
    answers(&stage).await;
}

#[tokio::test]
async fn a_message_that_comes_drop_by_drop_holds_nothing_for_long() {
    let stage = Stage::open().await;
    let (sender, _connection) = connect(&stage).await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let (response, mut body) = begin(&sender, head("Runs/ListRuns")).await;
        body.send_data(Bytes::from_static(b"\0"), false).unwrap();
        slow.push((response, body));
    }
    answers(&stage).await;
    for (response, _body) in slow {
        let response = timeout(PATIENCE, response).await.unwrap().unwrap();
        let told = failure(response.headers());
        assert_eq!(told.code, Code::ApiBusy.as_str());
        assert!(told.message.contains("20s"), "{told:?}");
    }
    // The same connection is as good as before.
    let response = call(&sender, "Runs/ListRuns", &v1::ListRunsRequest::default()).await;
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    assert!(!response.headers().contains_key(api::FAILURE));
}

#[tokio::test]
async fn a_caller_that_waits_no_longer_is_not_worked_for() {
    let stage = Stage::open().await;
    let (sender, _connection) = connect(&stage).await;
    let mut hasty = head("Events/WatchEvents");
    hasty.headers_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let (response, mut body) = begin(&sender, hasty).await;
    body.send_data(framed(&v1::WatchEventsRequest { patterns: vec!["never".into()], after: None }), true)
        .unwrap();
    let mut body = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
    assert!(timeout(PATIENCE, body.data()).await.unwrap().is_none());
    let trailers = timeout(PATIENCE, body.trailers()).await.unwrap().unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    assert_eq!(failure(&trailers).code, Code::TimedOut.as_str());
    let mut odd = head("Runs/ListRuns");
    odd.headers_mut().insert("grpc-timeout", "soon".parse().unwrap());
    let (response, _body) = begin(&sender, odd).await;
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    assert!(failure(response.headers()).message.starts_with("`grpc-timeout`"));
}
