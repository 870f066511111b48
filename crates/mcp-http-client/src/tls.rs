//! TLS: rustls with the ring provider and the trust store of the operating system.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use mcp_transport::{TlsSettings, TransportError};
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier,
};
use rustls_platform_verifier::Verifier;

use crate::failure::unusable;

/// A configuration that needs no provider installed for the whole process, and why it cannot verify
/// anybody, if so: a machine without trusted certificates can still reach loopback over plain http.
///
/// TLS 1.2 is the oldest version (contract §7.8).
pub(crate) fn client_config() -> Result<(ClientConfig, Option<rustls::Error>), rustls::Error> {
    let (config, problem) = match Verifier::new(provider()) {
        Ok(verifier) => (with_verifier(Arc::new(verifier))?, None),
        Err(error) => (builder()?.with_root_certificates(RootCertStore::empty()), Some(error)),
    };
    Ok((with_protocols(config.with_no_client_auth()), problem))
}

/// A configuration with the settings of one server. Reads files.
///
/// # Errors
/// An endpoint that cannot be used: the text names the setting and its file.
pub(crate) fn config_for(settings: &TlsSettings) -> Result<ClientConfig, TransportError> {
    let failed = |error: rustls::Error| unusable(format!("TLS cannot be set up: {error}"));
    let verifier: Arc<dyn ServerCertVerifier> = if settings.danger_skip_verify {
        Arc::new(Anybody(provider().signature_verification_algorithms))
    } else {
        let roots = match &settings.ca_file {
            Some(path) => certificates("ca_file", path)?,
            None => Vec::new(),
        };
        let verifier =
            Verifier::new_with_extra_roots(roots, provider()).map_err(|error| match &settings.ca_file {
                Some(path) => unusable(format!("tls.ca_file {}: {error}", path.display())),
                None => no_roots(&error),
            })?;
        Arc::new(verifier)
    };
    let builder = with_verifier(verifier).map_err(failed)?;
    let config = match (&settings.cert_file, &settings.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert_file), Some(key_file)) => {
            let chain = certificates("cert_file", cert_file)?;
            let key = PrivateKeyDer::from_pem_file(key_file)
                .map_err(|error| bad_file("key_file", key_file, "private key", &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                unusable(format!(
                    "tls.cert_file {} and tls.key_file {}: {error}",
                    cert_file.display(),
                    key_file.display()
                ))
            })?
        }
        (Some(_), None) => return Err(unusable("tls.cert_file needs tls.key_file")),
        (None, Some(_)) => return Err(unusable("tls.key_file needs tls.cert_file")),
    };
    Ok(with_protocols(config))
}

/// Why no server can be verified.
pub(crate) fn no_roots(error: &dyn fmt::Display) -> TransportError {
    unusable(format!("https needs trusted certificates (package ca-certificates, or tls.ca_file): {error}"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

fn with_verifier(
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier))
}

fn with_protocols(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let bad = |error| bad_file(setting, path, "certificate", &error);
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(bad)?.collect::<Result<_, _>>().map_err(bad)?;
    if found.is_empty() { Err(bad(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn bad_file(setting: &str, path: &Path, what: &str, error: &pem::Error) -> TransportError {
    let path = path.display();
    unusable(match error {
        pem::Error::Io(error) => format!("tls.{setting} {path} cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("tls.{setting} {path} has no {what} in PEM format"),
        other => format!("tls.{setting} {path} is no PEM file: {other}"),
    })
}

/// Takes any certificate, for `danger_skip_verify`. The handshake still proves that the server has its key.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
