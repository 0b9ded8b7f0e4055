//! Owns how sockets go from one edge to its successor: with a line of JSON that says which they are, in messages of as many
//! as the kernel lets one bear.

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::ask::Answer;
use crate::edge::sockets::Place;

/// Descriptors that one message may bear (unix(7): `SCM_MAX_FD`).
const MOST_AT_ONCE: usize = 253;
/// No line that says which they are is longer.
const LONGEST: usize = 16 << 20;

/// Sends the sockets.
pub(super) fn send(mut stream: &UnixStream, open: &[(Place, OwnedFd)]) -> io::Result<()> {
    let places = open.iter().map(|(place, _)| *place).collect();
    let mut line = serde_json::to_vec(&Answer::Sockets { places })?;
    // Each message takes an octet: beyond the first they are spaces, which mean nothing behind the JSON.
    let (first, rest) = line.split_at_mut(1);
    let mut messages = open.chunks(MOST_AT_ONCE);
    send_some(stream, messages.next().unwrap_or_default(), first)?;
    stream.write_all(rest)?;
    messages.try_for_each(|message| send_some(stream, message, b" "))?;
    stream.write_all(b"\n")
}

fn send_some(mut stream: &UnixStream, open: &[(Place, OwnedFd)], octet: &[u8]) -> io::Result<()> {
    if open.is_empty() {
        return stream.write_all(octet);
    }
    let descriptors: Vec<_> = open.iter().map(|(_, socket)| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(stream, &[IoSlice::new(octet)], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Receives them.
pub(super) fn receive(stream: &UnixStream) -> io::Result<Vec<(Place, OwnedFd)>> {
    let mut line = Vec::new();
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    while !line.ends_with(b"\n") {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0; 4096];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg(stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        line.extend_from_slice(&buffer[..received.bytes]);
        if line.len() > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    match serde_json::from_slice(&line)? {
        Answer::Sockets { places } if places.len() == descriptors.len() => {
            Ok(places.into_iter().zip(descriptors).collect())
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::edge::sockets::Kind;

    #[test]
    fn any_number_of_sockets_goes_over() {
        for number in [0, 1, MOST_AT_ONCE, MOST_AT_ONCE + 1, 3 * MOST_AT_ONCE] {
            let socket: OwnedFd = UdpSocket::bind("127.0.0.1:0").unwrap().into();
            let open: Vec<(Place, OwnedFd)> = (0..number)
                .map(|thread| {
                    let place = Place { kind: Kind::Udp, address: ([127, 0, 0, 1], 0).into(), thread };
                    (place, socket.try_clone().unwrap())
                })
                .collect();
            let (one, other) = UnixStream::pair().unwrap();
            let sending = std::thread::spawn(move || send(&one, &open));
            let received = receive(&other).unwrap();
            sending.join().unwrap().unwrap();
            let threads: Vec<usize> = received.iter().map(|(place, _)| place.thread).collect();
            assert_eq!(threads, (0..number).collect::<Vec<_>>());
        }
    }
}
