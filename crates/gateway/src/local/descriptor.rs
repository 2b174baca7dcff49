//! Passing an open file over a unix socket (`SCM_RIGHTS`), with one byte that says it is there.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{FileType, OFlags, fcntl_getfl, fstat},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use tokio::{io::Interest, net::UnixStream};

/// The byte that carries a descriptor.
const MARK: u8 = 0xfd;

/// Sends a descriptor that may only be read; refuses any other.
pub(crate) async fn send(stream: &UnixStream, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    check(descriptor)?;
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [descriptor];
            let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
            debug_assert!(fits, "there is room for one");
            let mark = [IoSlice::new(&[MARK])];
            sendmsg(stream.as_fd(), &mark, &mut control, SendFlags::NOSIGNAL)?;
            Ok(())
        })
        .await
}

/// Receives a descriptor. It is closed on exec, refers to a regular file and may only be read.
pub(crate) async fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let received = stream
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut mark = [0];
            let got = recvmsg(
                stream.as_fd(),
                &mut [IoSliceMut::new(&mut mark)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            let mut descriptors = control.drain().flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
                _ => Vec::new(),
            });
            let first = descriptors.next();
            let is_alone = descriptors.next().is_none();
            let is_whole = !got.flags.contains(ReturnFlags::CTRUNC);
            Ok(first.filter(|_| got.bytes == 1 && mark == [MARK] && is_alone && is_whole))
        })
        .await?
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no descriptor came"))?;
    check(received.as_fd())?;
    Ok(received)
}

fn check(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let access = fcntl_getfl(descriptor)? & OFlags::RWMODE;
    let kind = FileType::from_raw_mode(fstat(descriptor)?.st_mode);
    if access == OFlags::RDONLY && kind == FileType::RegularFile {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a passed descriptor must be a regular file opened for reading only",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read};

    use super::*;

    #[tokio::test]
    async fn only_readable_regular_files_are_passed() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        std::fs::write(&path, "content").expect("a file");
        let writable = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("a file");
        assert!(send(&one, writable.as_fd()).await.is_err());
        assert!(
            send(&one, File::open(folder.path()).expect("a folder").as_fd())
                .await
                .is_err()
        );
        let readable = File::open(&path).expect("a file");
        send(&one, readable.as_fd()).await.expect("sent");
        let mut text = String::new();
        let mut received = File::from(receive(&other).await.expect("received"));
        received.read_to_string(&mut text).expect("read");
        assert_eq!(text, "content");
        assert!(rustix::io::write(&received, b"x").is_err());
    }

    #[tokio::test]
    async fn a_byte_without_a_descriptor_is_refused() {
        let (one, other) = UnixStream::pair().expect("a pair");
        one.writable().await.expect("room");
        one.try_write(&[MARK]).expect("sent");
        assert!(receive(&other).await.is_err());
        drop(one);
        assert!(receive(&other).await.is_err());
    }
}
