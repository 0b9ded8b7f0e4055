//! Owns the native protocol of systemd's journal: one datagram for each line, or a sealed file in memory where that is
//! too large.

use std::fs::File;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// A journal that does not read must not hold up the daemon for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket of the journal.
pub(super) struct Journald(UnixDatagram);

impl Journald {
    /// The journal that listens at `path`.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Hands one line over.
    pub(super) fn send(&self, fields: &[(String, String)]) -> io::Result<()> {
        let message = encoded(fields);
        match self.0.send(&message) {
            Ok(_) => Ok(()),
            Err(error) if is_too_large(&error) => self.send_as_file(&message),
            Err(error) => Err(error),
        }
    }

    fn send_as_file(&self, message: &[u8]) -> io::Result<()> {
        let memory = rustix::fs::memfd_create("mcrun-log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(memory);
        file.write_all(message)?;
        // The journal reads only what cannot change under it.
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        )?;
        let descriptors = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("one descriptor takes more than its space"));
        }
        rustix::net::sendmsg(&self.0, &[], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn is_too_large(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [rustix::io::Errno::MSGSIZE, rustix::io::Errno::NOBUFS]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

fn encoded(fields: &[(String, String)]) -> Vec<u8> {
    let mut message = Vec::new();
    for (name, value) in fields {
        message.extend(name.as_bytes());
        if value.contains('\n') {
            message.push(b'\n');
            message.extend((value.len() as u64).to_le_bytes());
        } else {
            message.push(b'=');
        }
        message.extend(value.as_bytes());
        message.push(b'\n');
    }
    message
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Read as _, Seek as _};

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

    use super::*;

    fn field(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn lines_are_datagrams_and_large_ones_sealed_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listens = UnixDatagram::bind(&path).unwrap();
        let journal = Journald::at(&path).unwrap();
        journal.send(&[field("MESSAGE", "one\ntwo"), field("PRIORITY", "6")]).unwrap();
        let mut buffer = [0; 256];
        let length = listens.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"MESSAGE\n\x07\0\0\0\0\0\0\0one\ntwo\nPRIORITY=6\n");

        let long = "x".repeat(8 << 20);
        journal.send(&[field("MESSAGE", &long)]).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        rustix::net::recvmsg(
            &listens,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::empty(),
        )
        .unwrap();
        let descriptor = ancillary
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            })
            .unwrap();
        let seals = rustix::fs::fcntl_get_seals(&descriptor).unwrap();
        assert!(seals.contains(SealFlags::WRITE | SealFlags::SEAL));
        let mut file = File::from(descriptor);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("MESSAGE={long}\n"));
    }
}
