//! How a host gets certificates: the messages, and both ends' decisions. Carrying them is `control`'s business.
//!
//! A joiner shows a token and proves that it holds a key; the authority answers with a certificate that it builds itself.
//! There is no certificate request to trust: a joiner cannot ask for a name, a role or a right, since the message has
//! no place for one. Later certificates are asked for over an authenticated link and need no message at all.

use std::time::SystemTime;

use types::{HostId, Secret};

use crate::{
    authority::{Authority, CaFingerprint},
    ca::{ClusterCa, IssueError},
    certificate::{CLOCK_SKEW, CertificateFault, Leaf},
    host_identity::Identity,
    link::RemoteHost,
    load_error::LoadError,
    node_key::{NodeKey, verify},
    revocation::{RevocationError, RevocationList},
    role::Roles,
    signer::statement,
    token::{JoinToken, ParseTokenError, TokenId},
    token_store::RedeemError,
};

/// What a joiner sends, over a link that [`crate::Bootstrap`] made.
#[derive(Clone, Debug)]
pub struct EnrolRequest {
    /// The 32 bytes of its public key.
    pub host: Vec<u8>,
    /// The text of the join token.
    pub token: Secret<Vec<u8>>,
    /// 32 random bytes.
    pub nonce: Vec<u8>,
    /// 64 bytes: the joiner's signature over cluster authority, token id, host and nonce.
    pub proof: Vec<u8>,
}

/// What the authority answers to a joiner, and to a host that asks for its next certificate. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolAnswer {
    /// The host's certificate, DER.
    pub certificate: Vec<u8>,
    /// The authority's certificate, DER; it names the cluster.
    pub authority: Vec<u8>,
    /// The newest [`RevocationList`]; empty if there is none.
    pub revocations: Vec<u8>,
}

/// Why the authority gives no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A field of the wrong length, or a token that is none.
    #[error("the enrolment request is malformed")]
    Malformed,
    /// The joiner does not hold the key it names.
    #[error("the proof of possession does not fit the key, the token and this cluster")]
    BadProof,
    /// The token.
    #[error(transparent)]
    Token(#[from] RedeemError),
    /// The host may have none.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl From<LoadError> for EnrolError {
    fn from(cause: LoadError) -> Self {
        Self::Issue(cause.into())
    }
}

/// Why a host does not take an answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// A certificate that says something else than it should.
    #[error("the certificate in the answer is unfit: {0}")]
    Unfit(#[from] CertificateFault),
    /// Somebody else's authority.
    #[error("the answer comes from another cluster's authority")]
    OtherAuthority,
    /// Somebody else's certificate.
    #[error("the certificate in the answer is for another host")]
    OtherHost,
    /// Not signed by the authority, or not valid by this host's clock.
    #[error(
        "the certificate in the answer is not valid now; compare the clocks of this host and the scheduler"
    )]
    NotValid,
    /// The list with it.
    #[error(transparent)]
    Revocations(#[from] RevocationError),
}

/// What a joiner signs.
fn proof_statement(
    fingerprint: CaFingerprint,
    token: TokenId,
    host: HostId,
    nonce: &[u8],
) -> Vec<u8> {
    statement(&[
        b"pantala enrolment",
        &fingerprint.0,
        &token.0,
        host.as_bytes(),
        nonce,
    ])
}

impl EnrolRequest {
    /// A request by the holder of `key`.
    pub(crate) fn new(token: &JoinToken, key: &NodeKey) -> Self {
        let mut nonce = vec![0; 32];
        aws_lc_rs::rand::fill(&mut nonce).expect("the system has entropy, or the library aborts");
        let host = key.host_id();
        let proof = key.sign(&proof_statement(token.fingerprint, token.id, host, &nonce));
        Self {
            host: host.as_bytes().to_vec(),
            token: Secret::new(token.to_text().expose().clone().into_bytes()),
            nonce,
            proof: proof.to_vec(),
        }
    }

    /// Who asks, with which token, if the proof holds for this authority.
    fn check(&self, fingerprint: CaFingerprint) -> Result<(HostId, JoinToken), EnrolError> {
        let malformed = |_| EnrolError::Malformed;
        let host = <[u8; 32]>::try_from(&self.host[..]).map_err(malformed)?;
        let proof = <[u8; 64]>::try_from(&self.proof[..]).map_err(malformed)?;
        if self.nonce.len() != 32 {
            return Err(EnrolError::Malformed);
        }
        let token = std::str::from_utf8(self.token.expose()).map_err(|_| EnrolError::Malformed)?;
        let token = token.parse::<JoinToken>();
        let token = token.map_err(|ParseTokenError| EnrolError::Malformed)?;
        let host = HostId::from_bytes(host);
        let signed = proof_statement(fingerprint, token.id, host, &self.nonce);
        if verify(host, &signed, &proof) {
            Ok((host, token))
        } else {
            Err(EnrolError::BadProof)
        }
    }
}

impl ClusterCa {
    /// Admits a joiner: checks its proof, counts a use of its token, and makes its certificate with the token's role.
    ///
    /// Errors: a refused joiner uses nothing up, unless the last step fails for want of a disk.
    pub fn enrol(
        &self,
        request: &EnrolRequest,
        now: SystemTime,
    ) -> Result<EnrolAnswer, EnrolError> {
        let (host, token) = request.check(self.fingerprint())?;
        // Before the token is touched.
        self.refuse_revoked(host)?;
        let role = self.tokens().redeem(&token, host, now)?;
        let leaf = self.issue(host, Roles::from(role), now)?;
        Ok(self.answer(&leaf, &self.revocations()?))
    }

    /// The next certificate for the host at the other end of an authenticated link, with the roles it has.
    pub fn renew(&self, remote: RemoteHost, now: SystemTime) -> Result<EnrolAnswer, IssueError> {
        let leaf = self.issue(remote.host, remote.roles, now)?;
        Ok(self.answer(&leaf, &self.revocations()?))
    }

    fn answer(&self, leaf: &Leaf, revocations: &RevocationList) -> EnrolAnswer {
        EnrolAnswer {
            certificate: leaf.der.to_vec(),
            authority: self.authority().der().to_vec(),
            revocations: revocations.as_bytes().to_vec(),
        }
    }
}

impl EnrolAnswer {
    /// The identity that this answer makes of the holder of `key`, if it is from the authority with `fingerprint`.
    pub(crate) fn check(
        &self,
        key: &NodeKey,
        fingerprint: CaFingerprint,
        now: SystemTime,
    ) -> Result<Identity, AnswerError> {
        if CaFingerprint::of(&self.authority) != fingerprint {
            return Err(AnswerError::OtherAuthority);
        }
        let authority = Authority::from_der(&self.authority)?;
        let leaf = Leaf::read(&self.certificate)?;
        if leaf.host != key.host_id() {
            return Err(AnswerError::OtherHost);
        }
        // Our clock may be ahead by the skew that all of us bear with; a certificate just made is valid before that too.
        if !authority.vouches_for(&leaf, now) && !authority.vouches_for(&leaf, now - CLOCK_SKEW) {
            return Err(AnswerError::NotValid);
        }
        let revocations = RevocationList::verified(&self.revocations, &authority)?;
        Ok(Identity::new(key.clone(), leaf, authority, revocations))
    }
}

#[cfg(test)]
mod tests;
