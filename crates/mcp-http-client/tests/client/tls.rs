//! Certificates: whom we trust, who we are. Source: contract §7.8, reliability S19 and R51.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::{Request, Version};
use mcp_http_client::{ClientPool, HttpOptions, Lane};
use mcp_transport::{Delivery, HttpEndpoint, TlsSettings, TransportError, TransportErrorKind};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::peer::{Peer, client, get, send, text};

/// A certificate authority, whose certificates are files.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    cert_file: PathBuf,
    key_file: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key), certificate: certificate.der().clone() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |name: &str, text: String| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Identity {
            cert_file: file("leaf.pem", certificate.pem()),
            key_file: file("leaf.key", key.serialize_pem()),
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    /// A server of this authority on the loopback interface.
    pub(crate) fn server(&self) -> ServerConfig {
        server(self.issue(&["127.0.0.1", "localhost"], |_| {}), None)
    }

    pub(crate) fn trusted(&self) -> TlsSettings {
        TlsSettings { ca_file: Some(self.file()), ..TlsSettings::default() }
    }
}

/// A server with a certificate, and perhaps an authority that clients must have theirs from.
fn server(identity: Identity, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(vec![identity.certificate], identity.key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn endpoint(peer: &Peer, host: &str, tls: TlsSettings) -> HttpEndpoint {
    HttpEndpoint { tls, ..HttpEndpoint::new(peer.url("https", host)) }
}

async fn ask(endpoint: &HttpEndpoint) -> Result<(u16, String), TransportError> {
    get(&client(endpoint)?, endpoint).await
}

/// The text after `cannot connect to …: `.
#[track_caller]
fn refusal(outcome: Result<(u16, String), TransportError>) -> String {
    let error = outcome.unwrap_err();
    assert_eq!(error.delivery, Delivery::NotSent, "{error}");
    assert!(matches!(error.kind, TransportErrorKind::Connect(_)), "{error:?}");
    let text = error.to_string();
    let (_, reason) = text.split_once("cannot connect to https://").unwrap();
    reason.split_once(": ").unwrap().1.to_owned()
}

#[tokio::test]
async fn both_protocols_work_over_tls() {
    let authority = Authority::new();
    for (alpn, version) in [
        (&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2),
        (&[b"http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let mut config = authority.server();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let peer = Peer::start_tls(config).await;
        for host in ["127.0.0.1", "localhost"] {
            let endpoint = endpoint(&peer, host, authority.trusted());
            let client = client(&endpoint).unwrap();
            for _ in 0..3 {
                assert_eq!(get(&client, &endpoint).await, Ok((200, "hello".to_owned())));
            }
            assert_eq!((client.stats().opened, client.stats().answers), (1, 3), "{version:?} {host}");
            assert!(client.remarks().is_empty());
        }
        let seen = peer.seen();
        assert!(seen.len() == 6 && seen.iter().all(|seen| seen.version == version), "{version:?}");
        assert_eq!(peer.connections(), 2, "{version:?}");
    }
}

#[tokio::test]
async fn the_oldest_version_is_1_2() {
    let authority = Authority::new();
    for tls in [authority.trusted(), TlsSettings { danger_skip_verify: true, ..TlsSettings::default() }] {
        let Identity { certificate, key, .. } = authority.issue(&["127.0.0.1"], |_| {});
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let peer = Peer::start_tls(config).await;
        assert_eq!(ask(&endpoint(&peer, "127.0.0.1", tls)).await, Ok((200, "hello".to_owned())));
    }
}

#[tokio::test]
async fn j14_a_server_that_is_not_who_it_should_be_is_refused_with_the_reason() {
    let (authority, other) = (Authority::new(), Authority::new());
    let local = &["127.0.0.1"][..];
    let self_signed = {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let no_file = PathBuf::new();
        Identity {
            certificate: certificate.der().clone(),
            key,
            cert_file: no_file.clone(),
            key_file: no_file,
        }
    };
    let rows: Vec<(&str, Identity, &str)> = vec![
        ("unknown authority", other.issue(local, |_| {}), "is of an unknown authority (see tls.ca_file)"),
        ("self-signed", self_signed, "is of an unknown authority (see tls.ca_file)"),
        ("another host", authority.issue(&["other.example"], |_| {}), "is for another host name"),
        (
            "expired",
            authority.issue(local, |params| params.not_after = date_time_ymd(2020, 1, 1)),
            "has expired",
        ),
        (
            "from the future",
            authority.issue(local, |params| params.not_before = date_time_ymd(3000, 1, 1)),
            "is not valid yet (are the clocks right?)",
        ),
        (
            "for clients",
            authority.issue(local, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]
            }),
            "is unusable: Other(OtherError(EkuError))",
        ),
    ];
    for (row, identity, reason) in rows {
        let peer = Peer::start_tls(server(identity, None)).await;
        let strict = endpoint(&peer, "127.0.0.1", authority.trusted());
        assert_eq!(refusal(ask(&strict).await), format!("the server's certificate {reason}"), "{row}");
        assert!(peer.seen().is_empty(), "{row}: nothing was sent");

        let blind = TlsSettings { danger_skip_verify: true, ..TlsSettings::default() };
        let blind = endpoint(&peer, "127.0.0.1", blind);
        let client = client(&blind).unwrap();
        assert_eq!(get(&client, &blind).await, Ok((200, "hello".to_owned())), "{row}");
        assert_eq!(client.remarks(), [("tls", "certificates are not verified".to_owned())]);
    }
    // Without the setting an authority of ours is unknown as well, and the two do not share a client.
    let peer = Peer::start_tls(authority.server()).await;
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    let (known, unknown) = (
        endpoint(&peer, "127.0.0.1", authority.trusted()),
        endpoint(&peer, "127.0.0.1", TlsSettings::default()),
    );
    let (with, without) = (pool.get(&known).unwrap(), pool.get(&unknown).unwrap());
    assert!(get(&with, &known).await.is_ok() && get(&without, &unknown).await.is_err());
    assert!(with != without && pool.len() == 2);
    pool.close(&known.url);
    assert!(pool.is_empty() && with.is_closed() && without.is_closed());
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let (authority, other) = (Authority::new(), Authority::new());
    let peer = Peer::start_tls(server(authority.issue(&["127.0.0.1"], |_| {}), Some(&authority))).await;
    let with = |identity: Option<Identity>| {
        let (cert_file, key_file) = identity.map(|it| (it.cert_file, it.key_file)).unzip();
        endpoint(&peer, "127.0.0.1", TlsSettings { cert_file, key_file, ..authority.trusted() })
    };
    let named = |authority: &Authority| authority.issue(&["client"], |_| {});

    assert!(ask(&with(Some(named(&authority)))).await.is_ok());
    assert!(peer.seen()[0].certified);
    let none = refusal(ask(&with(None)).await);
    assert_eq!(none, "the server asks for a client certificate (see tls.cert_file)");
    let wrong = refusal(ask(&with(Some(named(&other)))).await);
    assert!(wrong.starts_with("the server refused our certificate (see tls.cert_file): "), "{wrong}");
    assert!(peer.seen().is_empty());

    // Once the server has answered, the connection may be one on which it did.
    let plain = Peer::start(|_| text(200, "hello")).await;
    let asking = with(None);
    let client = client(&asking).unwrap();
    assert!(get(&client, &plain.endpoint()).await.is_ok());
    let error = get(&client, &asking).await.unwrap_err();
    assert_eq!(error.delivery, Delivery::Unknown);
    assert!(error.to_string().ends_with(&format!("broke before an answer came: {none}")), "{error}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let Identity { cert_file, key_file, .. } = authority.issue(&["client"], |_| {});
    let at = |name: &str| authority.folder.path().join(name);
    std::fs::write(at("empty.pem"), "nothing\n").unwrap();
    std::fs::write(at("broken.pem"), "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n")
        .unwrap();
    std::fs::write(at("junk.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(at("other.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let tls = |ca: Option<&Path>, cert: Option<&Path>, key: Option<&Path>| TlsSettings {
        ca_file: ca.map(Into::into),
        cert_file: cert.map(Into::into),
        key_file: key.map(Into::into),
        danger_skip_verify: false,
    };
    for (settings, start, contains) in [
        (tls(Some(&at("missing")), None, None), "tls.ca_file ", "missing cannot be read: No such file"),
        (
            tls(Some(&at("empty.pem")), None, None),
            "tls.ca_file ",
            "empty.pem has no certificate in PEM format",
        ),
        (tls(Some(&at("broken.pem")), None, None), "tls.ca_file ", "broken.pem is no PEM file: "),
        (
            tls(Some(&at("junk.pem")), None, None),
            "tls.ca_file ",
            "junk.pem: invalid peer certificate: BadEncoding",
        ),
        (tls(None, Some(&cert_file), None), "tls.cert_file needs tls.key_file", ""),
        (tls(None, None, Some(&key_file)), "tls.key_file needs tls.cert_file", ""),
        (
            tls(None, Some(&cert_file), Some(&cert_file)),
            "tls.key_file ",
            "leaf.pem has no private key in PEM format",
        ),
        (tls(None, Some(&at("nothing")), Some(&key_file)), "tls.cert_file ", "nothing cannot be read"),
        (tls(None, Some(&cert_file), Some(&at("other.key"))), "tls.cert_file ", "other.key: "),
    ] {
        let endpoint =
            HttpEndpoint { tls: settings, ..HttpEndpoint::new("https://127.0.0.1:1/".parse().unwrap()) };
        let error = client(&endpoint).unwrap_err();
        assert!(matches!(error.kind, TransportErrorKind::Endpoint(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with(start) && text.contains(contains), "{text}");
    }
}

/// R51: certificates are replaced while the server is in use.
#[tokio::test]
async fn changed_files_are_used_without_a_failed_request() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut config = old.server();
    config.alpn_protocols.clear();
    let peer = Peer::start_tls(config).await;
    let file = old.file();
    let endpoint = endpoint(&peer, "127.0.0.1", old.trusted());
    let client = client(&endpoint).unwrap();
    let ask = || async { get(&client, &endpoint).await.map(|(status, _)| status) };
    let later = || async {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(10)).await;
        tokio::time::resume();
    };
    assert_eq!(ask().await, Ok(200));

    // Half written: the old ones stay in use.
    std::fs::write(&file, "-----BEGIN").unwrap();
    later().await;
    assert_eq!(ask().await, Ok(200));
    std::fs::copy(new.file(), &file).unwrap();
    assert_eq!(ask().await, Ok(200), "it is not time to look yet");
    assert_eq!(peer.connections(), 1);

    peer.use_tls(new.server());
    later().await;
    assert_eq!(ask().await, Ok(200), "a new connection, to a server of the new authority");
    assert_eq!((peer.connections(), client.stats().opened), (2, 2));
    later().await;
    assert_eq!(ask().await, Ok(200));
    assert_eq!(peer.connections(), 2, "nothing has changed");
}

/// Whoever notices that files have changed may leave before they are read.
#[tokio::test]
async fn changed_files_are_used_whoever_leaves() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut config = new.server();
    config.alpn_protocols.clear();
    let peer = Peer::start_tls(config).await;
    let endpoint = endpoint(&peer, "127.0.0.1", old.trusted());
    let client = client(&endpoint).unwrap();
    std::fs::copy(new.file(), old.file()).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    assert!(client.place(Lane::Call, None).now_or_never().is_none(), "it waits for the files");
    let used = async { while get(&client, &endpoint).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), used).await.unwrap();
}

/// Reads one request over TLS and answers it with what is no TLS.
async fn plain_after_tls(mut config: ServerConfig, alpn: &[u8]) -> (u16, tokio::task::JoinHandle<()>) {
    config.alpn_protocols = vec![alpn.to_vec()];
    let two = alpn == b"h2";
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.unwrap();
        if two {
            // Empty settings, with which a server begins.
            tls.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            tls.flush().await.unwrap();
        }
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("EXECUTE-ME") {
            assert!(tls.read_buf(&mut seen).await.unwrap() > 0, "the request is not complete");
        }
        let (mut tcp, _) = tls.into_inner();
        tcp.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await.unwrap();
    });
    (port, task)
}

/// What is said of TLS after the handshake says nothing of whether the request was executed.
#[tokio::test]
async fn a_request_that_was_read_is_not_taken_for_unsent() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let authority = Authority::new();
        let (port, server) = plain_after_tls(authority.server(), alpn).await;
        let mut endpoint = HttpEndpoint::new(format!("https://127.0.0.1:{port}/mcp").parse().unwrap());
        endpoint.tls = authority.trusted();
        let request = Request::post(endpoint.url.as_str()).body("EXECUTE-ME".into()).unwrap();
        let error = send(&client(&endpoint).unwrap(), request).await.unwrap_err();
        server.await.unwrap();
        assert!(matches!(error.kind, TransportErrorKind::Closed(_)), "{error:?}");
        assert_eq!(error.delivery, Delivery::Unknown, "{error:?}");
    }
}
