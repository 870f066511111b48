//! Bearer tokens: fetched once for all who need one, renewed before they expire or when they are refused.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use mcp_transport::{Auth, ClientCredentials, HttpEndpoint, TransportError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::address::AddressPolicy;
use crate::credentials::{Grant, not_now};
use crate::endpoint::without_fragment;
use crate::failure::unusable;

/// How long before its end a token is renewed, unless its whole life is less than twice that.
const EARLY: Duration = Duration::from_secs(30);

/// How long a token that is due, but not over, is used on after it could not be renewed.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

/// Longest wait for a token.
const TOKEN_TIME: Duration = Duration::from_secs(10);

/// A longer token is not sent: it would be repeated with every message.
const LONGEST_TOKEN: usize = 16 << 10;

/// The tokens of one server.
pub(crate) struct Tokens {
    auth: Auth,
    /// Which token endpoints may be reached.
    policy: Arc<AddressPolicy>,
    /// What is asked for with [`Auth::ClientCredentials`] when it names no resource.
    resource: String,
    /// The last attempt and what came of it.
    last: RwLock<Attempt>,
    /// Held by the next attempt.
    attempt: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Attempt {
    number: u64,
    outcome: Option<Result<Token, TransportError>>,
}

/// A token to send.
#[derive(Clone)]
pub(crate) struct Token {
    header: HeaderValue,
    secret: SecretString,
    /// When to renew it, and when it is over.
    times: Option<(Instant, Instant)>,
}

impl Token {
    /// A token that lives as long as the server says, or until it is refused.
    pub(crate) fn new(secret: SecretString, life: Option<Duration>) -> Result<Self, &'static str> {
        let text = secret.expose_secret();
        let sane = !text.is_empty() && text.len() <= LONGEST_TOKEN;
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let header = HeaderValue::try_from(format!("Bearer {text}")).ok().filter(|_| sane && visible);
        let mut header = header.ok_or("the token has characters, or a length, that no token has")?;
        header.set_sensitive(true);
        let now = Instant::now();
        let times = life.and_then(|life| {
            let end = now.checked_add(life)?;
            Some((end.checked_sub(EARLY.min(life / 2)).unwrap_or(now), end))
        });
        Ok(Self { header, secret, times })
    }

    /// The value of `Authorization`.
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }

    fn is_due(&self, now: Instant) -> bool {
        self.times.is_some_and(|(due, _)| due <= now)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.times.is_some_and(|(_, end)| end <= now)
    }
}

impl Tokens {
    /// For an endpoint with authorization; `None` for one without.
    ///
    /// # Errors
    /// If the settings cannot work.
    pub(crate) fn of(
        endpoint: &HttpEndpoint,
        policy: &Arc<AddressPolicy>,
    ) -> Result<Option<Arc<Self>>, TransportError> {
        let Some(auth) = endpoint.auth.clone() else { return Ok(None) };
        if endpoint.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(AUTHORIZATION.as_str())) {
            return Err(unusable("auth and a header Authorization are both set; remove one"));
        }
        let mut resource = without_fragment(&endpoint.url);
        resource.set_query(None);
        let resource = match resource.path() {
            "/" => resource.as_str().trim_end_matches('/').to_owned(),
            _ => resource.into(),
        };
        let policy = policy.clone();
        Ok(Some(Arc::new(Self { auth, policy, resource, last: RwLock::default(), attempt: Arc::default() })))
    }

    /// A token to send now, other than the one refused. `http` is what tokens are fetched with.
    pub(crate) async fn get(
        self: &Arc<Self>,
        http: &reqwest::Client,
        refused: Option<&Token>,
    ) -> Result<Token, TransportError> {
        match &self.auth {
            Auth::ClientCredentials(credentials) => self.granted(credentials, http, refused).await,
            Auth::Provider(provider) => {
                let token = in_time(async {
                    let token = provider.token(refused.map(|token| &token.secret)).await;
                    token.map_err(|text| unusable(format!("there is no token: {text}")))
                });
                Token::new(token.await?, None).map_err(unusable)
            }
            _ => Err(unusable("this kind of auth is not known to the HTTP transports")),
        }
    }

    /// The token there is, or another one. However many ask, one is fetched; the others wait for what comes of
    /// it, or use the token there is if it is only due. An attempt goes on when those who wait for it leave.
    async fn granted(
        self: &Arc<Self>,
        credentials: &ClientCredentials,
        http: &reqwest::Client,
        refused: Option<&Token>,
    ) -> Result<Token, TransportError> {
        let usable = |token: &Token| {
            refused.is_none_or(|refused| refused.header != token.header) && !token.is_over(Instant::now())
        };
        let (seen, held) = self.look();
        let attempt = match held.and_then(Result::ok).filter(usable) {
            Some(token) if !token.is_due(Instant::now()) => return Ok(token),
            Some(token) => match self.attempt.clone().try_lock_owned() {
                Ok(attempt) => attempt,
                Err(_) => return Ok(token),
            },
            None => self.attempt.clone().lock_owned().await,
        };
        let held = match self.look() {
            // Somebody else has tried in the meantime: its success and its failure are ours.
            (number, Some(outcome)) if number != seen => return outcome,
            (_, held) => held.and_then(Result::ok).filter(usable),
        };
        let (this, http, credentials) = (self.clone(), http.clone(), credentials.clone());
        let fetching = tokio::spawn(async move {
            let _attempt = attempt;
            let grant = Grant { credentials: &credentials, policy: &this.policy, resource: &this.resource };
            let outcome = in_time(grant.fetch(&http)).await;
            this.settle(held, outcome)
        });
        fetching.await.unwrap_or_else(|_| Err(not_now("the token could not be fetched".into())))
    }

    /// Takes down what came of an attempt. A token that still works outlasts a failure.
    fn settle(
        &self,
        held: Option<Token>,
        outcome: Result<Token, TransportError>,
    ) -> Result<Token, TransportError> {
        let outcome = outcome.or_else(|error| {
            let Some(mut token) = held else { return Err(error) };
            tracing::warn!(%error, "the token could not be renewed; the one there is still works");
            token.times = token.times.map(|(_, end)| (Instant::now() + RENEWAL_PAUSE, end));
            Ok(token)
        });
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        *last = Attempt { number: last.number + 1, outcome: Some(outcome.clone()) };
        outcome
    }

    fn look(&self) -> (u64, Option<Result<Token, TransportError>>) {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        (last.number, last.outcome.clone())
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, TransportError>>) -> Result<T, TransportError> {
    tokio::time::timeout(TOKEN_TIME, work)
        .await
        .unwrap_or_else(|_| Err(not_now(format!("no token came within {TOKEN_TIME:?}"))))
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("auth", &self.auth).finish_non_exhaustive()
    }
}
