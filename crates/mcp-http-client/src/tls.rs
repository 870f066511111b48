//! TLS: rustls with the ring provider and the trust store of the operating system.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

/// A configuration that needs no provider installed for the whole process, and why it cannot verify
/// anybody, if so: a machine without trusted certificates can still reach loopback over plain http.
///
/// TLS 1.2 is the oldest version (contract §7.8).
pub(crate) fn client_config() -> Result<(ClientConfig, Option<rustls::Error>), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let (config, problem) = match builder()?.with_platform_verifier() {
        Ok(config) => (config, None),
        Err(error) => (builder()?.with_root_certificates(RootCertStore::empty()), Some(error)),
    };
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, problem))
}
