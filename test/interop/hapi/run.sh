#!/bin/sh
# Builds (once, into build/hapi) and runs a HAPI FHIR JPA server: run.sh PORT DATA
# Prints "ready http://127.0.0.1:PORT/fhir" on standard output, then serves until it is stopped; "run.sh build" only
# builds. HAPI_MEMORY (2g) is the heap; HAPI_H2 is added to the database's URL (";WRITE_DELAY=0"). Needs Java 17 (JDK)
# and Maven, and Maven Central for the first build.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${HAPI_BUILD:-$here/../../../build/hapi}

mkdir -p "$out"
if [ ! -f "$out/done" ] || [ "$here/pom.xml" -nt "$out/done" ]; then
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$out/lib" >&2
    touch "$out/done"
fi
if [ ! -f "$out/classes/Main.class" ] || [ "$here/Main.java" -nt "$out/classes/Main.class" ]; then
    mkdir -p "$out/classes"
    javac -proc:none -nowarn -cp "$out/lib/*" -d "$out/classes" "$here/Main.java" >&2
fi
[ "${1:-}" = build ] && exit 0

mkdir -p "$2"
exec java -Xmx"${HAPI_MEMORY:-2g}" -Dlogback.configurationFile="$here/logback.xml" \
    -cp "$out/classes:$out/lib/*" Main "$1" "$2"
