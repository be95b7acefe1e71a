/* validate_test.c -- what a resource may be: structure, formats, codes, targets, invariants, and
 * the vital signs' profiles. */
#include "fhir/fhir_int.h"

#include "vg_test.h"

static struct vg_arena arena;

#define OBS "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"text\":\"t\"}"
#define PAT "{\"resourceType\":\"Patient\""
#define TASK "{\"resourceType\":\"Task\",\"status\":\"requested\",\"intent\":\"order\""
#define BASIC "{\"resourceType\":\"Basic\",\"code\":{\"text\":\"t\"}"

/* status 0: it is fine. */
static void test_writes(void)
{
    static const struct {
        const char *name, *body;
        int status;
        const char *code, *expression;
    } cases[] = {
        {"nothing but the type", PAT "}", 0, "", ""},
        {"an unknown member", PAT ",\"shoeSize\":44}", 400, "structure", "Patient.shoeSize"},
        {"an unknown member, deep", PAT ",\"name\":[{\"nick\":\"x\"}]}", 400, "structure",
         "Patient.name[0].nick"},
        {"a name that is not echoed", PAT ",\"a b\":1}", 400, "structure", "Patient"},
        {"one value where an array belongs", PAT ",\"name\":{\"family\":\"x\"}}", 400, "structure",
         "Patient.name"},
        {"an array where one value belongs", PAT ",\"gender\":[\"male\"]}", 400, "structure",
         "Patient.gender"},
        {"a text where a boolean belongs", PAT ",\"active\":\"true\"}", 400, "value",
         "Patient.active"},
        {"an object where a text belongs", PAT ",\"birthDate\":{\"a\":1}}", 400, "value",
         "Patient.birthDate"},
        {"a text where an object belongs", OBS ",\"subject\":\"Patient/1\"}", 400, "structure",
         "Observation.subject"},
        {"a choice's type that it does not have", OBS ",\"valueMoney\":{\"value\":1}}", 400,
         "structure", "Observation.valueMoney"},
        {"a choice that must be there",
         "{\"resourceType\":\"MedicationRequest\",\"status\":"
         "\"active\",\"intent\":\"order\",\"subject\":{"
         "\"reference\":\"Patient/1\"}}",
         400, "required", "MedicationRequest.medication"},
        {"a part's required element", PAT ",\"link\":[{\"type\":\"seealso\"}]}", 400, "required",
         "Patient.link[0].other"},
        {"a required array",
         "{\"resourceType\":\"Provenance\",\"recorded\":\"2026-01-01T00:00:00Z\","
         "\"agent\":[{\"who\":{\"reference\":\"Device/1\"}}]}",
         400, "required", "Provenance.target"},
        {"an extension beside a value",
         PAT ",\"birthDate\":\"1950\",\"_birthDate\":{\"extension\":[{"
             "\"url\":\"urn:x\",\"valueString\":\"y\"}]}}",
         0, "", ""},
        {"an extension instead of a required value",
         "{\"resourceType\":\"Observation\",\"_status\":{\"extension\":[{\"url\":\"urn:x\","
         "\"valueCode\":\"unknown\"}]},\"code\":{\"text\":\"t\"}}",
         0, "", ""},
        {"a sibling of what is no primitive", PAT ",\"_name\":[{\"id\":\"x\"}]}", 400, "structure",
         "Patient.name"},
        {"null beside an extension",
         PAT ",\"name\":[{\"given\":[\"A\",null],\"_given\":[null,{\"id\":"
             "\"x\"}]}]}",
         0, "", ""},
        {"null beside nothing", PAT ",\"name\":[{\"given\":[\"A\",null]}]}", 400, "structure",
         "Patient.name[0].given[1]"},
        {"siblings of another length",
         PAT ",\"name\":[{\"given\":[\"A\"],\"_given\":[null,{\"id\":"
             "\"x\"}]}]}",
         400, "structure", "Patient.name[0].given"},
        {"an object with no more than an id", PAT ",\"name\":[{\"id\":\"a\"}]}", 400, "structure",
         "Patient.name[0]"},
        {"an extension without a url", PAT ",\"extension\":[{\"valueString\":\"x\"}]}", 400,
         "required", "Patient.extension[0].url"},
        {"an extension with nothing", PAT ",\"extension\":[{\"url\":\"urn:x\"}]}", 422, "invariant",
         "Patient.extension[0]"},
        {"two types of one extension",
         PAT ",\"extension\":[{\"url\":\"urn:x\",\"valueString\":\"a\","
             "\"valueCode\":\"b\"}]}",
         400, "structure", "Patient.extension[0].value"},
        {"a code with blanks", BASIC ",\"language\":\" en\"}", 400, "value", "Basic.language"},
        {"a uri with a blank", BASIC ",\"implicitRules\":\"a b\"}", 400, "value",
         "Basic.implicitRules"},
        {"an integer with a point", OBS ",\"valueInteger\":1.0}", 400, "value",
         "Observation.value"},
        {"an integer of more than 32 bits", OBS ",\"valueInteger\":2147483648}", 400, "value",
         "Observation.value"},
        {"the smallest integer", OBS ",\"valueInteger\":-2147483648}", 0, "", ""},
        {"a positive integer that is 0",
         PAT ",\"telecom\":[{\"system\":\"phone\",\"value\":\"1\",\"rank\":0}]}", 400, "value",
         "Patient.telecom[0].rank"},
        {"a time of day", OBS ",\"valueTime\":\"23:59:59.5\"}", 0, "", ""},
        {"a time of day without seconds", OBS ",\"valueTime\":\"23:59\"}", 400, "value",
         "Observation.value"},
        {"base64", PAT ",\"photo\":[{\"contentType\":\"image/png\",\"data\":\"AAA\"}]}", 400,
         "value", "Patient.photo[0].data"},
        {"an oid", OBS ",\"extension\":[{\"url\":\"urn:x\",\"valueOid\":\"urn:oid:1.2.03\"}]}", 400,
         "value", "Observation.extension[0].value"},
        {"a uuid",
         OBS ",\"extension\":[{\"url\":\"urn:x\",\"valueUuid\":\"urn:uuid:c757873d-ec9a-4326-"
             "a141-556f43239520\"}]}",
         0, "", ""},
        {"an instant without a zone", OBS ",\"issued\":\"2026-03-14T10:00:00\"}", 400, "value",
         "Observation.issued"},
        {"a code of another set, in a concept",
         "{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/1\"},"
         "\"clinicalStatus\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
         "condition-clinical\",\"code\":\"done\"}]}}",
         400, "code-invalid", "Condition.clinicalStatus"},
        {"the status of R5", "{\"resourceType\":\"DetectedIssue\",\"status\":\"mitigated\"}", 400,
         "code-invalid", "DetectedIssue.status"},
        {"an observer of another product",
         "{\"resourceType\":\"AuditEvent\",\"type\":{\"code\":\"rest\"},\"recorded\":"
         "\"2026-01-01T00:00:00Z\",\"agent\":[{\"requestor\":true}],\"source\":{\"observer\":{"
         "\"reference\":\"Subscription/1\"}}}",
         422, "invalid", "AuditEvent.source.observer"},
        {"a meta of another product", PAT ",\"meta\":{\"project\":\"x\"}}", 400, "structure",
         "Patient.meta.project"},
        {"a target that may not be",
         "{\"resourceType\":\"Flag\",\"status\":\"active\",\"code\":{"
         "\"text\":\"t\"},\"subject\":{\"reference\":\"Device/1\"}}",
         422, "invalid", "Flag.subject"},
        {"a target that may not be, by its whole address",
         OBS ",\"subject\":{\"reference\":\"https://other.example/fhir/Medication/1\"}}", 422,
         "invalid", "Observation.subject"},
        {"a target by urn",
         OBS ",\"subject\":{\"reference\":\"urn:uuid:c757873d-ec9a-4326-a141-"
             "556f43239520\"}}",
         0, "", ""},
        {"a contained target",
         OBS
         ",\"contained\":[{\"resourceType\":\"Patient\",\"id\":\"p\"}],\"subject\":{\"reference\":"
         "\"#p\"}}",
         0, "", ""},
        {"a contained target of the wrong type",
         OBS ",\"contained\":[{\"resourceType\":\"Medication\",\"id\":\"p\"}],\"subject\":{"
             "\"reference\":\"#p\"}}",
         422, "invalid", "Observation.subject"},
        {"a contained one that nobody refers to",
         OBS ",\"contained\":[{\"resourceType\":\"Patient\",\"id\":\"p\"}]}", 422, "invariant",
         "Observation.contained[0]"},
        {"a contained one that is not there", OBS ",\"subject\":{\"reference\":\"#p\"}}", 422,
         "invariant", "Observation.subject.reference"},
        {"a fault inside a contained one",
         OBS ",\"contained\":[{\"resourceType\":\"Patient\",\"id\":\"p\",\"gender\":\"m\"}],"
             "\"subject\":{\"reference\":\"#p\"}}",
         400, "code-invalid", "Observation.contained[0].gender"},
        {"a script in the narrative",
         PAT ",\"text\":{\"status\":\"generated\",\"div\":\"<div><script>x</script></div>\"}}", 400,
         "value", "Patient.text.div"},
        {"a handler in the narrative",
         PAT ",\"text\":{\"status\":\"generated\",\"div\":\"<div onclick='x'>a</div>\"}}", 400,
         "value", "Patient.text.div"},
        {"obs-3", OBS ",\"referenceRange\":[{\"type\":{\"text\":\"t\"}}]}", 422, "invariant",
         "Observation.referenceRange[0]"},
        {"obs-7",
         "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"coding\":[{\"code\":"
         "\"a\"}]},\"valueInteger\":1,\"component\":[{\"code\":{\"coding\":[{\"code\":\"a\"}]}}]}",
         422, "invariant", "Observation"},
        {"qty-3", OBS ",\"valueQuantity\":{\"value\":1,\"code\":\"kg\"}}", 422, "invariant",
         "Observation.value"},
        {"per-1", TASK ",\"executionPeriod\":{\"start\":\"2026-02-02\",\"end\":\"2026-02-01\"}}",
         422, "invariant", "Task.executionPeriod"},
        {"a period of one day",
         TASK ",\"executionPeriod\":{\"start\":\"2026-02-02\",\"end\":\"2026-02-"
              "02\"}}",
         0, "", ""},
        {"inv-1", TASK ",\"authoredOn\":\"2026-02-02\",\"lastModified\":\"2026-02-01\"}", 422,
         "invariant", "Task"},
        {"ctm-1",
         "{\"resourceType\":\"CareTeam\",\"participant\":[{\"member\":{\"reference\":\"Patient/"
         "1\"},"
         "\"onBehalfOf\":{\"reference\":\"Organization/1\"}}]}",
         422, "invariant", "CareTeam.participant[0]"},
        {"ras-1",
         "{\"resourceType\":\"RiskAssessment\",\"status\":\"final\",\"subject\":{\"reference\":"
         "\"Patient/1\"},\"prediction\":[{\"probabilityRange\":{\"low\":{\"value\":1}}}]}",
         422, "invariant", "RiskAssessment.prediction[0].probability"},
        {"sev-1",
         "{\"resourceType\":\"AuditEvent\",\"type\":{\"code\":\"rest\"},\"recorded\":"
         "\"2026-01-01T00:00:00Z\",\"agent\":[{\"requestor\":true}],\"source\":{\"observer\":{"
         "\"reference\":\"Device/1\"}},\"entity\":[{\"name\":\"n\",\"query\":\"AAAA\"}]}",
         422, "invariant", "AuditEvent.entity[0]"},
        {"a batch is fine as a Bundle",
         "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"resource\":" PAT
         "}}]}",
         0, "", ""},
        {"a fault inside a Bundle",
         "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"resource\":" PAT
         ",\"x\":1}}]}",
         400, "structure", "Bundle.entry[0].resource.x"},
        {"bdl-1", "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"total\":1}", 422,
         "invariant", "Bundle"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vg_slice body = vg_slice_of(cases[i].body);
        struct vg_json *root = NULL;
        struct fhir_issue issue = {0};
        struct vg_err err = {0};

        CHECK_ROW(cases[i].name);
        vg_arena_reset(&arena);
        if (!CHECK(fhir_parse(&arena, body, &root, &issue, &err) == VG_OK))
            continue;
        unsigned type = fhir_type_find(vg_json_get_text(root, "resourceType"));
        enum vg_status st = fhir_check(&arena, type, root, &issue, &err);
        bool is_right = cases[i].status == 0
                            ? st == VG_OK
                            : st == VG_REJECT && issue.http_status == cases[i].status &&
                                  strcmp(issue.code, cases[i].code) == 0 &&
                                  vg_slice_is(issue.expression, cases[i].expression);

        if (!CHECK(is_right))
            printf("  %d %s %.*s: %s\n", issue.http_status, issue.code ? issue.code : "",
                   VG_FMT(issue.expression), err.text);
    }
}

#define VITAL                                                                                      \
    "{\"resourceType\":\"Observation\",\"status\":\"final\",\"category\":[{\"coding\":[{"          \
    "\"system\":\"http://terminology.hl7.org/CodeSystem/observation-category\",\"code\":"          \
    "\"vital-signs\"}]}],\"subject\":{\"reference\":\"Patient/1\"},\"effectiveDateTime\":"         \
    "\"2026-03-14T10:00:00Z\""
#define HEART ",\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"8867-4\"}]}"
#define PER_MINUTE(code)                                                                           \
    ",\"valueQuantity\":{\"value\":72,\"unit\":\"/min\",\"system\":"                               \
    "\"http://unitsofmeasure.org\",\"code\":\"" code "\"}"

static void test_all_findings(void)
{
    static const struct {
        const char *name, *body, *profile;
        size_t errors, warnings;
    } cases[] = {
        {"none", PAT "}", "", 0, 0},
        {"several", PAT ",\"a\":1,\"gender\":\"m\",\"birthDate\":\"x\"}", "", 3, 0},
        {"a warning",
         "{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/1\"},\"category\":[{"
         "\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/condition-category\","
         "\"code\":\"problem-list-item\"}]}]}",
         "", 0, 1},
        {"a heart rate", VITAL HEART PER_MINUTE("/min") "}",
         "http://hl7.org/fhir/StructureDefinition/heartrate", 0, 0},
        {"a heart rate in another unit", VITAL HEART PER_MINUTE("{beats}/min") "}",
         "http://hl7.org/fhir/StructureDefinition/heartrate", 1, 0},
        {"a heart rate by its own word",
         VITAL HEART PER_MINUTE("bpm") ",\"meta\":{\"profile\":[\"http://hl7.org/fhir/"
                                       "StructureDefinition/heartrate\"]}}",
         "", 1, 0},
        {"a vital sign without its time and category",
         "{\"resourceType\":\"Observation\",\"status\":\"final\",\"subject\":{\"reference\":"
         "\"Patient/"
         "1\"}" HEART PER_MINUTE("/min") "}",
         "http://hl7.org/fhir/StructureDefinition/vitalsigns", 2, 0},
        {"a blood pressure without its parts",
         VITAL ",\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"85354-9\"}]},"
               "\"dataAbsentReason\":{\"text\":\"x\"}}",
         "http://hl7.org/fhir/StructureDefinition/bp", 2, 0},
        {"a profile that is not known", PAT "}", "http://x.example/StructureDefinition/y", 0, 1},
        {"a profile of another type", PAT "}", "http://hl7.org/fhir/StructureDefinition/bp", 1, 0},
        {"the type's own profile", PAT "}", "http://hl7.org/fhir/StructureDefinition/Patient", 0,
         0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fhir_problems problems = {0};
        struct vg_json *root = NULL;
        struct fhir_issue issue;
        size_t errors = 0;

        CHECK_ROW(cases[i].name);
        vg_arena_reset(&arena);
        CHECK(fhir_parse(&arena, vg_slice_of(cases[i].body), &root, &issue, NULL) == VG_OK);
        CHECK(fhir_validate(&arena, fhir_type_find(vg_json_get_text(root, "resourceType")), root,
                            vg_slice_of(cases[i].profile), &problems, NULL) == VG_OK);
        for (size_t n = 0; n < problems.count; n++)
            errors += problems.items[n].http_status != 0;
        if (!CHECK(errors == cases[i].errors && problems.count - errors == cases[i].warnings))
            for (size_t n = 0; n < problems.count; n++)
                printf("  %s %s %.*s\n", problems.items[n].severity, problems.items[n].code,
                       VG_FMT(problems.items[n].text));
    }
}

int main(void)
{
    vg_arena_init(&arena, (size_t)16 << 20);
    RUN(test_writes);
    RUN(test_all_findings);
    vg_arena_fini(&arena);
    return vg_test_report();
}
