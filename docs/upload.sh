#!/bin/sh
# Uploads a file to MD Creator with nothing but curl (and python3 to read JSON); run it again to go on after an interruption.
#   API=http://127.0.0.1:8080 TOKEN=<access token> sh docs/upload.sh FILE WORKSPACE_ID
# What it has to remember, the upload's id, lies beside the file in FILE.upload until all is done.
set -eu
file=$1 workspace=$2 memory=$1.upload

json() { python3 -c 'import json,sys; found=json.load(sys.stdin); print(eval(sys.argv[1], {"it": found}))' "$1"; }
api() { curl --silent --show-error --fail-with-body --retry 5 --retry-all-errors -H "Authorization: Bearer $TOKEN" "$@"; }
post() { path=$1; shift; api -H 'Content-Type: application/json' --request POST "$API$path" "$@"; }

if [ ! -s "$memory" ]; then
    body=$(python3 -c 'import json,os,sys; print(json.dumps({"workspace_id": sys.argv[2], "size": os.path.getsize(sys.argv[1]),
        "filename": os.path.basename(sys.argv[1]), "content_type": "application/octet-stream", "sha256": sys.argv[3]}))' \
        "$file" "$workspace" "$(sha256sum "$file" | cut -d ' ' -f 1)")
    begun=$(post /v1/files/uploads --data "$body")
    if [ "$(echo "$begun" | json 'it["deduplicated"]')" = True ]; then
        echo "$begun" | json 'it["file_id"]'
        exit
    fi
    echo "$begun" | json 'it["upload_id"]' >"$memory"
fi
upload=/v1/files/uploads/$(cat "$memory")

standing=$(api "$API$upload")
part_size=$(echo "$standing" | json 'it["part_size"]')
for number in $(echo "$standing" | json '" ".join(str(n) for n in range(1, it["parts"] + 1)
        if n not in [part["part_number"] for part in it["received"]])'); do
    signed=$(post "$upload/parts" --data "{\"part_numbers\": [$number]}")
    echo "$signed" | json '"\n".join(name + ": " + value for name, value in it["urls"][0]["headers"].items())' >"$memory.headers"
    tail -c "+$(((number - 1) * part_size + 1))" "$file" | head -c "$part_size" >"$memory.part"
    curl --silent --show-error --fail ${CURL_OPTIONS-} --header "@$memory.headers" --upload-file "$memory.part" \
        --output /dev/null "$(echo "$signed" | json 'it["urls"][0]["url"]')"
    echo "part $number is there" >&2
done
post "$upload/complete" | json 'it["id"]'
rm "$memory" "$memory.headers" "$memory.part"
