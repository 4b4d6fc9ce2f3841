# shellcheck shell=bash
# seconds: 600
# Cards that we sign verify in the A2A SDKs for Python and JavaScript, whatever is in them, and cards that those sign
# verify here, over the hard cards of a2a/cards.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

CARDS=$REPOSITORY/tests/interop/a2a/cards
COOK=spiffe://$TRUST_DOMAIN/ns/interop/sa/cook
GUEST=spiffe://$TRUST_DOMAIN/ns/interop/sa/guest

python_sdk() { "$A2A_PYTHON" "$REPOSITORY/tests/interop/a2a/card.py" "$@"; }
javascript_sdk() { node "$REPOSITORY/tests/interop/a2a/card.mjs" "$@"; }

# verifies CARD: here, by the CA's trust bundle and revocation lists.
verifies() { secctl agentcard verify "$1" --expect-id "$COOK"; }

start_ca
secctl svid issue --spiffe-id "$COOK" --out "$WORK/cook"
secctl svid issue --spiffe-id "$GUEST" --out "$WORK/guest"
count=0
for card in "$CARDS"/*.json; do
    name=$(basename -- "$card" .json)
    [[ $name != too-deep ]] || continue
    count=$((count + 1))
    ours=$WORK/$name-ours.json
    secctl agentcard sign "$card" --svid-dir "$WORK/cook" --portable --out "$ours"
    expect "our own verifier accepts $name" verifies "$ours"
    for sdk in python javascript; do
        expect "the $sdk SDK accepts our $name" "${sdk}_sdk" verify "$ours" "$WORK/cook/svid.pem"
        refused "our $name by another key in the $sdk SDK" 'No valid signature' \
            "${sdk}_sdk" verify "$ours" "$WORK/guest/svid.pem"
        theirs=$WORK/$name-$sdk.json
        "${sdk}_sdk" sign "$card" "$WORK/cook/svid.pem" "$WORK/cook/key.pem" >"$theirs"
        expect "we accept the $sdk SDK's $name" verifies "$theirs"
    done
done
expect "all cards were tried" test "$count" -ge 10

# Several signatures: each SDK finds the one of the key that it trusts.
secctl agentcard sign "$CARDS/plain.json" --svid-dir "$WORK/guest" --portable --out "$WORK/one.json"
secctl agentcard sign "$WORK/one.json" --svid-dir "$WORK/cook" --portable --existing keep --out "$WORK/two.json"
for sdk in python javascript; do
    for signer in cook guest; do
        expect "the $sdk SDK finds $signer's signature" "${sdk}_sdk" verify "$WORK/two.json" "$WORK/$signer/svid.pem"
    done
    "${sdk}_sdk" sign "$WORK/two.json" "$WORK/cook/svid.pem" "$WORK/cook/key.pem" >"$WORK/three-$sdk.json"
    expect "we find the signature that the $sdk SDK adds to ours" verifies "$WORK/three-$sdk.json"
done

# Both sides notice what was changed.
sed 's/Makes soup/Makes poison/' "$WORK/plain-ours.json" >"$WORK/changed.json"
refused "a changed card" 'it is tampered' verifies "$WORK/changed.json"
for sdk in python javascript; do
    refused "a changed card in the $sdk SDK" 'No valid signature' \
        "${sdk}_sdk" verify "$WORK/changed.json" "$WORK/cook/svid.pem"
    sed 's/Makes soup/Makes poison/' "$WORK/plain-$sdk.json" >"$WORK/changed-$sdk.json"
    refused "the $sdk SDK's card, changed" 'it is tampered' verifies "$WORK/changed-$sdk.json"
done

# What the Python SDK cannot read, whoever signs it: the signer says so, and names the member. The JavaScript SDK can.
refused "a card that is nested deeper than the Python SDK reads" 'params. is nested deeper' \
    secctl agentcard sign "$CARDS/too-deep.json" --svid-dir "$WORK/cook" --portable
refused "the Python SDK signing such a card" 'Error' \
    python_sdk sign "$CARDS/too-deep.json" "$WORK/cook/svid.pem" "$WORK/cook/key.pem"
secctl agentcard sign "$CARDS/too-deep.json" --svid-dir "$WORK/cook" --canonicalization sdk --out "$WORK/deep.json"
expect "the JavaScript SDK accepts it from us" javascript_sdk verify "$WORK/deep.json" "$WORK/cook/svid.pem"
javascript_sdk sign "$CARDS/too-deep.json" "$WORK/cook/svid.pem" "$WORK/cook/key.pem" >"$WORK/deep-js.json"
expect "we accept it from the JavaScript SDK" verifies "$WORK/deep-js.json"
