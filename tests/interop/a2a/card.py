"""Signs and verifies AgentCards with the Python SDK, as an agent that uses it does.

    card.py verify CARD SVID          succeeds when the SDK accepts a signature by the key of the leaf in SVID
    card.py sign CARD SVID KEY        prints the card with the SDK's signature, the chain of SVID in its header
"""

import base64
import json
import sys

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.json_format import MessageToDict

from a2a.client.card_resolver import parse_agent_card
from a2a.utils.signing import create_agent_card_signer, create_signature_verifier


def read_card(path):
    with open(path, encoding="utf-8") as file:
        return parse_agent_card(json.load(file))


def read_chain(path):
    with open(path, "rb") as file:
        return x509.load_pem_x509_certificates(file.read())


def verify(card, svid):
    leaf = read_chain(svid)[0]
    key = leaf.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    create_signature_verifier(lambda kid, jku: key, ["ES256"])(read_card(card))


def sign(card, svid, key):
    chain = [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in read_chain(svid)]
    with open(key, "rb") as file:
        signer = create_agent_card_signer(
            file.read(), {"alg": "ES256", "kid": "python", "typ": "JOSE", "x5c": chain}
        )
    print(json.dumps(MessageToDict(signer(read_card(card))), ensure_ascii=False))


{"verify": verify, "sign": sign}[sys.argv[1]](*sys.argv[2:])
