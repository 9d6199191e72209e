#!/usr/bin/env python3
"""A second opinion on the vault: recomputes its keys and formats from docs/spec/vault.md with other libraries.

    vault_second_opinion.py --self-test  compare with the vectors in crates/alknet-vault/tests/vectors
    vault_second_opinion.py ALKNET       the same, and compare with what the binary at that path prints and seals

Needs the packages bip-utils and cryptography. Prints a line for each check and a total; exits 1 when one fails.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

from bip_utils import (
    Bip32Slip10Ed25519,
    Bip32Slip10Secp256k1,
    Bip39Languages,
    Bip39MnemonicValidator,
    Bip39SeedGenerator,
)
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VECTORS = Path(__file__).resolve().parent.parent / "crates/alknet-vault/tests/vectors/ok"

IDENTITIES = [
    # mnemonic, epoch
    ("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about", 0),
    ("legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal will", 0),
    ("void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol group "
     "space point ten exist slush involve unfold", 0),
    ("void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol group "
     "space point ten exist slush involve unfold", 3),
]


# Formats

def b64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def unb64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | info]) + number.to_bytes(size, "big")
    raise ValueError("number beyond 64 bits")


def cbor(value):
    """Deterministic CBOR (RFC 8949 section 4.2) of the types that the formats use."""
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        members = sorted((cbor(name), cbor(member)) for name, member in value.items())
        return head(5, len(value)) + b"".join(name + member for name, member in members)
    raise TypeError(type(value))


def z_base_32(data):
    alphabet = "ybndrfg8ejkmcpqxot1uwisza345h769"
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    return "".join(alphabet[int(bits[at:at + 5], 2)] for at in range(0, len(bits), 5))


def hkdf(secret, salt, info):
    return HKDF(SHA256(), 32, salt, info).derive(secret)


# Derivation

def seed_of(mnemonic, passphrase=""):
    """bip-utils has no Japanese list; the stretching is the same for every language."""
    words = unicodedata.normalize("NFKD", mnemonic)
    if mnemonic.isascii():
        Bip39MnemonicValidator(Bip39Languages.ENGLISH).Validate(mnemonic)
        return Bip39SeedGenerator(mnemonic, Bip39Languages.ENGLISH).Generate(passphrase)
    salt = "mnemonic" + unicodedata.normalize("NFKD", passphrase)
    return hashlib.pbkdf2_hmac("sha512", " ".join(words.split()).encode(), salt.encode(), 2048)


def ed25519(seed, path):
    return Bip32Slip10Ed25519.FromSeed(seed).DerivePath(path)


def private(node):
    return node.PrivateKey().Raw().ToBytes()


def public(node):
    return node.PublicKey().RawCompressed().ToBytes()[1:]


def ethereum(seed):
    node = Bip32Slip10Secp256k1.FromSeed(seed).DerivePath("m/44'/60'/0'/0/0")
    return node.PublicKey().RawCompressed().ToBytes()


def table(seed, epoch):
    """Public keys of the path table, by the names that the vectors use."""
    own = ["node", "ssh-host", "ssh-user", "git", "messaging", "acme"]
    keys = {name: public(ed25519(seed, f"m/74'/0'/{number}'/{epoch}'")) for number, name in enumerate(own)}
    keys["ssh-authority"] = public(ed25519(seed, f"m/74'/0'/7'/{epoch}'"))
    keys["root"] = public(ed25519(seed, "m/74'/0'/6'/0'"))
    keys["device-1"] = public(ed25519(seed, f"m/74'/1'/1'/{epoch}'"))
    keys["ethereum"] = ethereum(seed)
    return {name: key.hex() for name, key in keys.items()}


# Sealed blobs

def seal_parts(seed, purpose, version, salt, context):
    secret = private(ed25519(seed, f"m/74'/2'/{purpose}'/{version}'"))
    info = b"alknet-seal-v1\0" + purpose.to_bytes(4, "big") + version.to_bytes(4, "big") + context
    return hkdf(secret, salt, info), cbor([1, "A256GCM", purpose, version, salt, context])


def seal_blob(seed, purpose, version, salt, nonce, context, plaintext):
    key, associated = seal_parts(seed, purpose, version, salt, context)
    return {
        "v": 1, "alg": "A256GCM", "key": f"{purpose}/{version}", "salt": salt, "nonce": nonce,
        "data": AESGCM(key).encrypt(nonce, plaintext, associated), "context": context,
    }


def blob_to_json(blob):
    return json.dumps({name: unb64(part) if isinstance(part, bytes) else part for name, part in blob.items()})


def blob_from_json(text):
    members = json.loads(text)
    return {name: b64(part) if name in ("salt", "nonce", "data", "context") else part for name, part in members.items()}


def open_blob(seed, blob, context):
    if set(blob) != {"v", "alg", "key", "salt", "nonce", "data", "context"}:
        raise ValueError("other members")
    if blob["v"] != 1 or blob["alg"] != "A256GCM" or blob["context"] != context:
        raise ValueError("another version, cipher or context")
    purpose, version = map(int, blob["key"].split("/"))
    key, associated = seal_parts(seed, purpose, version, blob["salt"], context)
    return AESGCM(key).decrypt(blob["nonce"], blob["data"], associated)


# Keystore

def keystore_associated(members):
    kdf = members["kdf"]
    names = ["memory_kib", "passes", "lanes"] if kdf["name"] == "argon2id" else []
    derivation = [kdf["name"]] + [kdf[name] for name in names]
    return cbor(["alknet-keystore-v1", "A256GCM", members["epoch"], b64(members["node"]), derivation,
                 b64(members["salt"])])


def keystore_sum(members):
    return hashlib.sha256(keystore_associated(members) + b64(members["nonce"]) + b64(members["data"])).digest()[:8]


def keystore_key(members, unlock):
    kdf, salt = members["kdf"], b64(members["salt"])
    if kdf["name"] == "argon2id":
        stretch = Argon2id(salt=salt, length=32, iterations=kdf["passes"], lanes=kdf["lanes"],
                           memory_cost=kdf["memory_kib"])
        secret = stretch.derive(unicodedata.normalize("NFKD", unlock).encode())
    else:
        header, line = unlock.split("\n")[:2]
        assert header == "alknet-key-file-v1"
        secret = b64(line)
    return hkdf(secret, salt, b"alknet-keystore-v1\0" + kdf["name"].encode())


def open_keystore(members, unlock):
    """The sealed content, in CBOR."""
    if b64(members["sum"]) != keystore_sum(members):
        raise ValueError("the sum does not match")
    return AESGCM(keystore_key(members, unlock)).decrypt(
        b64(members["nonce"]), b64(members["data"]), keystore_associated(members))


# Identity statements

def statement(keys, epoch, not_before, not_after):
    named = {name: bytes.fromhex(keys[name]) for name in ("git", "ssh-host", "ssh-user", "messaging")}
    return cbor({"root": bytes.fromhex(keys["root"]), "node": bytes.fromhex(keys["node"]), "epoch": epoch,
                 "keys": named, "not_before": not_before, "not_after": not_after})


def verify_statement(root, body, signature):
    Ed25519PublicKey.from_public_bytes(root).verify(signature, b"alknet-identity-v1\0" + body)


# Checks

class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, function):
        try:
            ok, detail = bool(function()), ""
        except Exception as error:  # any surprise is a failed check, and the next one still runs
            ok, detail = False, f": {type(error).__name__}: {error}"
        self.passed += ok
        self.failed += not ok
        print(f"{'PASS' if ok else 'FAIL'} {name}{detail}")

    def total(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


def refused(function):
    try:
        function()
    except (ValueError, InvalidTag):
        return True
    return False


def load(name):
    return json.loads((VECTORS / name).read_text())


def self_test(report):
    for name in ("english", "japanese"):
        for at, case in enumerate(load(f"mnemonic/{name}.json")):
            report.check(f"mnemonic {name} {at}: seed and xprv", lambda: (
                seed_of(case["mnemonic"], case["passphrase"]).hex() == case["seed"]
                and Bip32Slip10Secp256k1.FromSeed(bytes.fromhex(case["seed"])).PrivateKey().ToExtended() == case["xprv"]))
    for name, derive, field in (
        ("slip10/ed25519", ed25519, "private"),
        ("bip32/secp256k1", lambda seed, path: Bip32Slip10Secp256k1.FromSeed(seed).DerivePath(path), "xprv"),
    ):
        for case in load(f"{name}.json"):
            for link in case["chain"]:
                def agrees(link=link, case=case):
                    node = derive(bytes.fromhex(case["seed"]), link["path"])
                    found = private(node).hex() if field == "private" else node.PrivateKey().ToExtended()
                    return found == link[field]
                report.check(f"{name} {case['name']} {link['path']}", agrees)
    for case in load("identity/table.json"):
        report.check(f"path table of {case['name']}",
                     lambda: table(seed_of(case["mnemonic"], case["passphrase"]), case["epoch"]) == case["keys"])
    seed = seed_of(load("identity/table.json")[0]["mnemonic"])
    for case in load("sealed/plaintexts.json"):
        blob = blob_from_json((VECTORS / "sealed" / f"{case['name']}.json").read_text())
        context, plaintext = bytes.fromhex(case["context"]), bytes.fromhex(case["plaintext"])
        report.check(f"sealed {case['name']} opens", lambda: open_blob(seed, blob, context) == plaintext)
        report.check(f"sealed {case['name']} is the same in CBOR", lambda: (
            cbor(blob).hex() == (VECTORS / "sealed" / f"{case['name']}.cbor.hex").read_text().strip()))
        report.check(f"sealed {case['name']} stays shut elsewhere",
                     lambda: refused(lambda: open_blob(seed, blob, context + b"?")))
        report.check(f"sealed {case['name']} stays shut when forged for elsewhere",
                     lambda: refused(lambda: open_blob(seed, {**blob, "context": context + b"?"}, context + b"?")))
    for case in load("keystore/contents.json"):
        members = load(f"keystore/{case['name']}.json")
        content = cbor([case["language"], bytes.fromhex(case["entropy"]), case["passphrase"]])
        report.check(f"keystore {case['name']} opens", lambda: open_keystore(members, case["unlock"]) == content)
    for case in load("statement/cases.json"):
        body = statement(case["keys"], case["epoch"], case["not_before"], case["not_after"])
        encoded = bytes.fromhex((VECTORS / "statement" / f"{case['name']}.hex").read_text().strip())
        signature = encoded[-64:]
        report.check(f"statement {case['name']} has the specified bytes", lambda: cbor([body, signature]) == encoded)
        report.check(f"statement {case['name']} is signed by its root", lambda: (
            verify_statement(bytes.fromhex(case["keys"]["root"]), body, signature) is None))


def run(alknet, *arguments, stdin=""):
    done = subprocess.run([alknet, *arguments], input=stdin, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments[:2])} exited {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def binary(report, alknet):
    for mnemonic, epoch in IDENTITIES:
        with tempfile.TemporaryDirectory() as data:
            seed, name = seed_of(mnemonic), f"{len(mnemonic.split())} words, epoch {epoch}"
            keys = table(seed, epoch)

            def restored():
                run(alknet, "identity", "restore", "--data", data, "--epoch", str(epoch), stdin=mnemonic + "\n")
                return True

            def shown():
                return json.loads(run(alknet, "identity", "show", "--data", data, "--json"))

            def seals():
                text = run(alknet, "vault", "seal", "--context", "second-opinion", "--data", data, stdin="tell nobody")
                blob = blob_from_json(text)
                return blob["key"] == "0/1" and open_blob(seed, blob, b"second-opinion") == b"tell nobody"

            report.check(f"{name}: restored", restored)
            report.check(f"{name}: node key", lambda: shown()["key"] == keys["node"])
            report.check(f"{name}: node id", lambda: shown()["node_id"] == z_base_32(bytes.fromhex(keys["node"])))
            report.check(f"{name}: Ethereum key", lambda: shown()["ethereum"] == keys["ethereum"])
            report.check(f"{name}: a sealed blob opens here", seals)


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    report = Report()
    self_test(report)
    if sys.argv[1] != "--self-test":
        binary(report, sys.argv[1])
    return report.total()


if __name__ == "__main__":
    sys.exit(main())
