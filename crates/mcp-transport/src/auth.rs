//! Where the `Authorization` of requests comes from.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::endpoint::origin;

/// A source of bearer tokens. Secrets in it do not show in `Debug`. A fixed token is a header like any other
/// and needs none.
#[derive(Clone)]
#[non_exhaustive]
pub enum Auth {
    /// Tokens that the HTTP transports fetch themselves.
    ClientCredentials(Box<ClientCredentials>),
    /// Tokens of somebody else, such as an authorization-code flow with a user in it.
    Provider(Arc<dyn TokenProvider>),
}

/// The OAuth 2 client credentials grant. Source: RFC 6749 §4.4, contract §7.5.
#[derive(Clone)]
pub struct ClientCredentials {
    /// The token endpoint of the authorization server; `https`, or `http` to loopback.
    pub token_url: Url,
    /// Who we are.
    pub client_id: String,
    /// The proof.
    pub client_secret: SecretString,
    /// The `scope` to ask for, if any.
    pub scope: Option<String>,
    /// The `resource` to ask for (RFC 8707); `None`: the URL of the endpoint.
    pub resource: Option<Url>,
    /// How the secret is sent.
    pub method: ClientAuthentication,
}

/// How a client proves who it is at the token endpoint. Source: RFC 6749 §2.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClientAuthentication {
    /// `client_secret_basic`: in the `Authorization` header.
    #[default]
    Basic,
    /// `client_secret_post`: in the body.
    Post,
}

/// Gives bearer tokens for one server. It is asked before each request, so it keeps its tokens itself, and sees to
/// it that of many who ask at once one fetches.
pub trait TokenProvider: Send + Sync + 'static {
    /// A token to send now. `rejected` is one that this provider gave before and the server has refused with
    /// 401, so that another one is needed; concurrent callers may name the same one.
    ///
    /// The HTTP transports wait for it for 10 s at most. A token has visible ASCII characters, 16 KiB at most.
    ///
    /// # Errors
    /// A text for people: what is missing and what to do. It holds no secrets.
    fn token(&self, rejected: Option<&SecretString>) -> BoxFuture<'_, Result<SecretString, String>>;
}

/// Equal if they give the same tokens: the same provider, or the same credentials, secrets included.
impl PartialEq for Auth {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ClientCredentials(one), Self::ClientCredentials(other)) => one == other,
            (Self::Provider(one), Self::Provider(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Auth {}

impl PartialEq for ClientCredentials {
    fn eq(&self, other: &Self) -> bool {
        let Self { token_url, client_id, client_secret, scope, resource, method } = self;
        (token_url, client_id, scope, resource, method)
            == (&other.token_url, &other.client_id, &other.scope, &other.resource, &other.method)
            && client_secret.expose_secret() == other.client_secret.expose_secret()
    }
}

impl Eq for ClientCredentials {}

/// Of URLs it shows the origin: path and query may hold a key.
impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token_url, client_id, client_secret, scope, resource, method } = self;
        f.debug_struct("ClientCredentials")
            .field("token_url", &origin(token_url))
            .field("client_id", client_id)
            .field("client_secret", client_secret)
            .field("scope", scope)
            .field("resource", &resource.as_ref().map(origin))
            .field("method", method)
            .finish()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientCredentials(credentials) => credentials.fmt(f),
            Self::Provider(_) => f.write_str("Provider"),
        }
    }
}
