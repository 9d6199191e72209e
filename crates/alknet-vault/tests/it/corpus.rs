//! The corpora of the fuzz targets, replayed: no panic, bounded time.

#[path = "../../../../fuzz/feeds/vault.rs"]
mod feeds;
#[path = "../../../../fuzz/feeds/replay.rs"]
mod replay;

#[test]
fn mnemonic() {
    replay::replay("mnemonic", feeds::mnemonic);
}

#[test]
fn sealed_blob_json() {
    replay::replay("sealed_blob_json", feeds::sealed_blob_json);
}

#[test]
fn sealed_blob_cbor() {
    replay::replay("sealed_blob_cbor", feeds::sealed_blob_cbor);
}

#[test]
fn keystore() {
    replay::replay("keystore", feeds::keystore);
}

#[test]
fn key_file() {
    replay::replay("key_file", feeds::key_file);
}

#[test]
fn identity_statement() {
    replay::replay("identity_statement", feeds::identity_statement);
}
