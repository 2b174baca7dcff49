//! PEM, so that `openssl` can read what we keep. Reading is the library's; writing it needs no library.

use rustls_pki_types::{
    CertificateDer,
    pem::{PemObject, SectionKind},
};
use zeroize::Zeroizing;

use crate::load_error::LoadFault;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What one of our files holds, each part in the order it was found.
#[derive(Default)]
pub(crate) struct Blocks {
    /// PKCS #8 private keys.
    pub(crate) keys: Vec<Zeroizing<Vec<u8>>>,
    /// Certificates.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

/// Reads every block. A damaged block, or one of a kind that we never write, spoils the whole file.
pub(crate) fn read(text: &[u8]) -> Result<Blocks, LoadFault> {
    let mut blocks = Blocks::default();
    for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        match block {
            Ok((SectionKind::PrivateKey, der)) => blocks.keys.push(Zeroizing::new(der)),
            Ok((SectionKind::Certificate, der)) => blocks.certificates.push(der.into()),
            Ok(_) | Err(_) => return Err(LoadFault::Garbage),
        }
    }
    Ok(blocks)
}

/// One block under `label`, lines of 64 letters.
pub(crate) fn write(label: &str, der: &[u8]) -> Zeroizing<String> {
    // Large enough from the start: a key must not be left behind by a growing buffer.
    let mut text = Zeroizing::new(String::with_capacity(der.len() * 2 + 100));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            push_group(&mut text, group);
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn push_group(text: &mut String, group: &[u8]) {
    let byte = |at: usize| group.get(at).map_or(0, |byte| u32::from(*byte));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    for at in 0..4 {
        if at > group.len() {
            text.push('=');
        } else {
            let letter = bits >> (18 - 6 * at) & 63;
            text.push(char::from(BASE64[letter as usize]));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(der in proptest::collection::vec(any::<u8>(), 1..200)) {
            let blocks = read(write("CERTIFICATE", &der).as_bytes()).expect("our own writing");
            prop_assert_eq!(blocks.certificates, vec![CertificateDer::from(der.clone())]);
            let blocks = read(write("PRIVATE KEY", &der).as_bytes()).expect("our own writing");
            prop_assert_eq!(&*blocks.keys[0], &der);
        }

        #[test]
        fn hostile_bytes_do_not_panic(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&text);
        }
    }

    #[test]
    fn kinds_that_we_never_write_are_refused() {
        assert!(read(write("RSA PRIVATE KEY", b"abc").as_bytes()).is_err());
    }
}
