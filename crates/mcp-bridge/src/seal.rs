//! State that clients carry for us, sealed against change. Source: bridging §6.3.1, §6.4, §11.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_protocol::{InvalidJson, Method, RawJson};
use mcp_registry::Timestamp;
use mcp_server::Principal;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::digest::Digest;

/// Largest payload in bytes: 64 KiB of state and 1 KiB of what goes with it.
pub const MAX_PAYLOAD: usize = 65 << 10;

/// Bytes of the number in front, which makes the nonce.
const NUMBER: usize = size_of::<u64>();

/// Bytes of the time behind which nothing is opened.
const EXPIRY: usize = size_of::<i64>();

/// Longest sealed text.
const MAX_SEALED: usize = (NUMBER + EXPIRY + MAX_PAYLOAD + 16).div_ceil(3) * 4;

/// Members of parameters that differ between the attempts at one request. Source: bridging §6.3.1.
const PER_ATTEMPT: [&str; 3] = ["_meta", "inputResponses", "requestState"];

/// What a request asks for, whichever attempt at it this is: the digest of its parameters without `_meta`,
/// `inputResponses` and `requestState`. No parameters are the same as an empty object.
///
/// # Errors
/// [`InvalidJson`] if the parameters are no object or a member stands twice.
pub fn digest_of_params(params: Option<&RawJson>) -> Result<Digest, InvalidJson> {
    let members = params.map(RawJson::members).transpose()?.unwrap_or_default();
    Ok(Digest::of(members.texts().filter(|(name, _)| !PER_ATTEMPT.contains(name))))
}

/// What a payload is sealed for. It is opened only where all of it is the same.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// What the payload is: cursors are not taken for state, nor the other way round.
    pub purpose: &'static str,
    /// Who carries it.
    pub principal: &'a Principal,
    /// The endpoint it was given out at.
    pub endpoint: &'a str,
    /// The method of the request it belongs to.
    pub method: &'a Method,
    /// What that request asks for.
    pub params: Digest,
}

/// Seals with a key of its own, drawn when it is made: what another one has sealed it does not open.
///
/// A sealed text is printable ASCII that stands in JSON without escapes. Whoever carries it can neither read nor change
/// it. That it is used once only is not seen to here.
pub struct Sealer {
    key: LessSafeKey,
    /// How many were sealed. The nonce, which must not repeat under one key.
    sealed: AtomicU64,
}

/// The operating system gives no random numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers for a key")]
pub struct NoRandomness;

/// A payload is too large to be carried by a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state of {len} bytes is more than the {MAX_PAYLOAD} a client carries for us")]
pub struct TooLarge {
    /// Size of the payload in bytes.
    pub len: usize,
}

/// A text is not what was sealed for this context, or has expired. Which of these it is nobody is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it was not given to you for this request, or has expired; start over without it")]
pub struct Refused;

impl Sealer {
    /// A sealer with a new key.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn new() -> Result<Self, NoRandomness> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).map_err(|_| NoRandomness)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| NoRandomness)?;
        Ok(Self { key: LessSafeKey::new(key), sealed: AtomicU64::new(0) })
    }

    /// Seals a payload, to be opened before `expires`.
    ///
    /// # Errors
    /// [`TooLarge`] if it exceeds [`MAX_PAYLOAD`].
    pub fn seal(
        &self,
        context: &Context<'_>,
        expires: Timestamp,
        payload: &[u8],
    ) -> Result<String, TooLarge> {
        let too_large = TooLarge { len: payload.len() };
        if payload.len() > MAX_PAYLOAD {
            return Err(too_large);
        }
        let number = self.sealed.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut secret = [&expires.as_micros().to_be_bytes(), payload].concat();
        let sealed = self.key.seal_in_place_append_tag(nonce(number), context.authenticated(), &mut secret);
        sealed.map_err(|_| too_large)?;
        Ok(URL_SAFE_NO_PAD.encode([&number[..], &secret].concat()))
    }

    /// Opens what was sealed for the same context.
    ///
    /// # Errors
    /// [`Refused`], whatever the reason.
    pub fn open(&self, context: &Context<'_>, now: Timestamp, sealed: &str) -> Result<Vec<u8>, Refused> {
        if sealed.len() > MAX_SEALED {
            return Err(Refused);
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Refused)?;
        let (number, secret) = bytes.split_first_chunk_mut::<NUMBER>().ok_or(Refused)?;
        let secret = self.key.open_in_place(nonce(*number), context.authenticated(), secret);
        let (expires, payload) = secret.map_err(|_| Refused)?.split_first_chunk::<EXPIRY>().ok_or(Refused)?;
        let expired = now >= Timestamp::from_micros(i64::from_be_bytes(*expires));
        if expired { Err(Refused) } else { Ok(payload.to_vec()) }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Context<'_> {
    /// The context as bytes, different for different contexts.
    fn authenticated(&self) -> Aad<Vec<u8>> {
        let texts = [self.purpose, self.principal.as_str(), self.endpoint, self.method.as_str()];
        let mut bytes = self.params.as_bytes().to_vec();
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Aad::from(bytes)
    }
}

fn nonce(number: [u8; NUMBER]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - NUMBER..].copy_from_slice(&number);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests;
