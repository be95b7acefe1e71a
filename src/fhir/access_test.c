/* access_test.c -- scopes: which are read, what they allow, and where a search leads. */
#include "fhir/access_int.h"

#include "fhir/fhir_int.h"

#include <stdio.h>

#include "vg_test.h"

static void test_scopes_that_are_read(void)
{
    static const struct {
        const char *text;
        bool is_scope;
    } rows[] = {
        {"system/Observation.rs", true},
        {"system/*.cruds", true},
        {"system/Patient.read system/Patient.write", true},
        {"  system/Patient.r   system/Flag.s ", true},
        {"system/*.*", true},
        {"", false},
        {"system/Observation", false},
        {"system/Observation.", false},
        {"system/Observation.sr", false},
        {"system/Observation.rr", false},
        {"system/Observation.x", false},
        {"system/Nothing.rs", false},
        {"user/Observation.rs", false},
        {"patient/Observation.rs", false},
        {"system/Observation.rs?category=vital-signs", false},
        {"system/Observation.rs openid", false},
    };
    struct fhir_access access;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!CHECK(fhir_scopes_parse(vg_slice_of(rows[i].text), &access) == rows[i].is_scope))
            printf("  [%s]\n", rows[i].text);
}

static void test_what_they_allow(void)
{
    static const struct {
        const char *scopes, *type;
        char right;
        bool is_allowed;
    } rows[] = {
        {"system/Observation.rs", "Observation", 'r', true},
        {"system/Observation.rs", "Observation", 's', true},
        {"system/Observation.rs", "Observation", 'c', false},
        {"system/Observation.rs", "Patient", 'r', false},
        {"system/Observation.rs", "", 'r', false}, /* every type */
        {"system/*.rs", "", 'r', true},
        {"system/*.rs", "Flag", 's', true},
        {"system/*.read", "Flag", 'd', false},
        {"system/*.write", "Flag", 'd', true},
        {"system/*.write", "Flag", 'r', false},
        {"system/Flag.c system/Flag.d", "Flag", 'd', true},
    };
    struct fhir_access access;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK(fhir_scopes_parse(vg_slice_of(rows[i].scopes), &access));
        if (!CHECK(fhir_access_allows(&access, rows[i].right,
                                      fhir_type_find(vg_slice_of(rows[i].type))) ==
                   rows[i].is_allowed))
            printf("  [%s: %c of %s]\n", rows[i].scopes, rows[i].right, rows[i].type);
    }
}

/* A search must not tell what may not be seen by finding something or not. */
static void test_where_a_search_leads(void)
{
    static const struct {
        const char *scopes, *query;
        bool is_allowed;
    } rows[] = {
        {"system/Observation.s", "code=8867-4&date=ge2026-01-01&_count=5", true},
        {"system/Observation.s", "patient=p1&_include=Observation:patient", true},
        {"system/Observation.s", "patient.identifier=x", false},
        {"system/Observation.s system/Patient.s", "patient.identifier=x", true},
        {"system/Observation.s system/Patient.r", "patient.identifier=x", false},
        {"system/Observation.s system/Patient.s", "subject:Patient.name=x", true},
        {"system/Observation.s system/Patient.s", "subject.name=x", false},
        {"system/Observation.s system/Patient.s", "subject:Device.identifier=x", false},
        {"system/Observation.s system/Patient.s", "subject%3ADevice.identifier=x", false},
        {"system/Observation.s", "_has:Provenance:target:recorded=2026", false},
        {"system/Observation.s system/Provenance.s", "_has:Provenance:target:recorded=2026", true},
        {"system/Observation.s system/Provenance.s", "_has:Provenance:target:agent.name=x", false},
        {"system/Observation.s", "_has:Nothing:target:x=y", false},
        {"system/*.s", "patient.identifier=x&_has:Provenance:target:agent.name=x", true},
    };
    struct fhir_access access;
    unsigned type = fhir_type_find(VG_SLICE("Observation"));

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK(fhir_scopes_parse(vg_slice_of(rows[i].scopes), &access));
        if (!CHECK(fhir_access_allows_query(&access, type, vg_slice_of(rows[i].query)) ==
                   rows[i].is_allowed))
            printf("  [%s: %s]\n", rows[i].scopes, rows[i].query);
    }
}

int main(void)
{
    RUN(test_scopes_that_are_read);
    RUN(test_what_they_allow);
    RUN(test_where_a_search_leads);
    return vg_test_report();
}
