/* fhir_mapping_test.c -- FHIR templates that load, or are refused with their place. */
#include "connector/fhir_mapping.h"

#include "base/file.h"
#include "vg_test.h"

#include <unistd.h>

static struct vg_arena arena;

static const struct fhir_mapping *load(struct vg_slice text, struct vg_err *err)
{
    struct mapping_errors errors = {.arena = &arena, .source = text};
    const struct fhir_mapping *mapping = NULL;

    return fhir_mapping_load(&errors, &mapping, err) == VG_OK ? mapping : NULL;
}

#define QUANTITY "\"value\":{\"valueType\":\"Quantity\",\"valueName\":\"hr\"}"

static const struct {
    const char *name, *members, *error;
} rows[] = {
    {"the least", "\"typeName\":\"a\",\"codes\":[]", NULL},
    {"a quantity", "\"typeName\":\"a\",\"codes\":[]," QUANTITY, NULL},
    {"names ignore case",
     "\"TYPENAME\":\"a\",\"Codes\":[],\"Value\":{\"ValueType\":\"STRING\",\"valueName\":\"x\"}",
     NULL},
    {"other members of a value are ignored",
     "\"typeName\":\"a\",\"codes\":[],\"value\":{\"valueType\":\"Quantity\",\"valueName\":\"x\","
     "\"y\":1}",
     NULL},
    {"an interval by name", "\"typeName\":\"a\",\"codes\":[],\"periodInterval\":\"Daily\"", NULL},
    {"an interval as text", "\"typeName\":\"a\",\"codes\":[],\"periodInterval\":\"60\"", NULL},
    {"sampled",
     "\"typeName\":\"a\",\"codes\":[],\"periodInterval\":60,\"value\":{\"valueType\":"
     "\"SampledData\",\"valueName\":\"x\",\"defaultPeriod\":1000}",
     NULL},
    {"no type name", "\"codes\":[]", "required member 'typeName' is missing"},
    {"a blank type name", "\"typeName\":\" \",\"codes\":[]", "not blank"},
    {"no codes", "\"typeName\":\"a\"", "required member 'codes' is missing"},
    {"an unknown member", "\"typeName\":\"a\",\"codes\":[],\"x\":1", "unknown member 'x'"},
    {"an unknown member of a code", "\"typeName\":\"a\",\"codes\":[{\"Value\":1}]",
     "unknown member"},
    {"an unknown interval", "\"typeName\":\"a\",\"codes\":[],\"periodInterval\":5",
     "'periodInterval'"},
    {"an unknown value type",
     "\"typeName\":\"a\",\"codes\":[],\"value\":{\"valueType\":\"Range\",\"valueName\":\"x\"}",
     "'valueType'"},
    {"no value name", "\"typeName\":\"a\",\"codes\":[],\"value\":{\"valueType\":\"String\"}",
     "'valueName'"},
    {"sampled without period",
     "\"typeName\":\"a\",\"codes\":[],\"value\":{\"valueType\":\"SampledData\",\"valueName\":"
     "\"x\"}",
     "'defaultPeriod'"},
    {"too many samples",
     "\"typeName\":\"a\",\"codes\":[],\"periodInterval\":1440,\"value\":{\"valueType\":"
     "\"SampledData\",\"valueName\":\"x\",\"defaultPeriod\":10}",
     "more than 100000"},
    {"a concept without codes",
     "\"typeName\":\"a\",\"codes\":[],\"value\":{\"valueType\":\"CodeableConcept\",\"valueName\":"
     "\"x\"}",
     "'codes' is missing"},
    {"a component without value", "\"typeName\":\"a\",\"codes\":[],\"components\":[{\"codes\":[]}]",
     "'value' is missing"},
    {"a component without codes", "\"typeName\":\"a\",\"codes\":[],\"components\":[{" QUANTITY "}]",
     "'codes' is missing"},
};

static void test_load(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vg_err err = {0};
        const struct fhir_mapping *mapping;

        vg_arena_init(&arena, 0);
        CHECK_ROW(rows[i].name);
        mapping = load(vg_arena_printf(&arena,
                                       "{\"templateType\":\"CollectionFhir\",\"template\":[{"
                                       "\"templateType\":\"CodeValueFhir\",\"template\":{%s}}]}",
                                       rows[i].members),
                       &err);
        CHECK((mapping != NULL) == (rows[i].error == NULL));
        if (rows[i].error ? !CHECK(strstr(err.text, rows[i].error) != NULL) : !mapping)
            printf("  got %s\n", err.text);
        vg_arena_fini(&arena);
    }
}

static void test_find(void)
{
    const struct fhir_mapping *mapping;
    struct vg_err err = {0};

    vg_arena_init(&arena, 0);
    mapping = load(
        VG_SLICE(
            "{\"templateType\":\"CollectionFhirTemplate\",\"template\":[{\"templateType\":"
            "\"CodeValueFhirTemplate\",\"template\":{\"typeName\":\"HeartRate\",\"codes\":"
            "[{\"code\":\"x\"},{\"code\":\"8867-4\",\"system\":\"http://loinc.org\"}]," QUANTITY
            "}}]}"),
        &err);
    if (CHECK(mapping != NULL)) {
        const struct fhir_template *t = fhir_mapping_find(mapping, VG_SLICE("heartrate"));

        CHECK(t &&
              vg_slice_is(t->value.header_json,
                          "{\"name\":\"hr\",\"system\":\"http://loinc.org\",\"code\":\"8867-4\","));
        CHECK(!fhir_mapping_find(mapping, VG_SLICE("other")));
    }
    CHECK(!load(
        VG_SLICE("{\"templateType\":\"CollectionFhir\",\"template\":[{\"templateType\":"
                 "\"CodeValueFhir\",\"template\":{\"typeName\":\"a\",\"codes\":[]}},{"
                 "\"templateType\":\"CodeValueFhir\",\"template\":{\"typeName\":\"A\",\"codes\":"
                 "[]}}]}"),
        &err));
    CHECK(strstr(err.text, "a second template for type 'A'") != NULL);
    CHECK(!load(VG_SLICE("{\"templateType\":\"CollectionFhir\",\"template\":{}}"), &err));
    CHECK(!load(VG_SLICE("{\"templateType\":\"CollectionContent\",\"template\":[]}"), &err));
    CHECK(!load(VG_SLICE("not JSON"), &err));
    vg_arena_fini(&arena);
}

#define FIXTURES VG_SOURCE_DIR "/../shared/data/connector/"

static void test_reference_validation(void)
{
    static const char *const samples[] = {"sample-templates/basic/fhirmapping.json",
                                          "sample-templates/healthkitOnFhir/fhirmapping.json",
                                          "sample-templates/sandbox/fhirmapping.json"};
    struct vg_slice text, source;
    struct vg_json *root = NULL;
    struct vg_err err = {0};

    if (access(FIXTURES "golden/template-validation.json", R_OK) != 0) {
        SKIP("the reference engine's files are not here");
        return;
    }
    vg_arena_init(&arena, 0);
    for (size_t i = 0; i < 3; i++) {
        CHECK_ROW(samples[i]);
        CHECK(vg_file_read(&arena, vg_arena_printf(&arena, FIXTURES "%s", samples[i]).ptr, 0,
                           &source, &err) == VG_OK);
        if (!CHECK(load(source, &err) != NULL))
            printf("  %s\n", err.text);
    }
    CHECK(vg_file_read(&arena, FIXTURES "golden/template-validation.json", 0, &text, &err) ==
          VG_OK);
    CHECK(vg_json_parse(&arena, text, NULL, &root, NULL, NULL) == VG_OK);
    for (const struct vg_json *at = root ? root->child : NULL; at; at = at->next) {
        struct vg_slice file = vg_json_get_text(at, "file");
        static char name[100];

        (void)vg_slice_to_cstr(file, name, sizeof(name));
        CHECK_ROW(name);
        if (!strstr(name, "CollectionFhir"))
            continue;
        CHECK(vg_file_read(&arena, vg_arena_printf(&arena, FIXTURES "template-tests/%s", name).ptr,
                           0, &source, &err) == VG_OK);
        if (!CHECK((load(source, &err) != NULL) ==
                   vg_slice_is(vg_json_get_text(at, "result"), "valid")))
            printf("  %s\n", err.text);
    }
    vg_arena_fini(&arena);
}

int main(void)
{
    RUN(test_load);
    RUN(test_find);
    RUN(test_reference_validation);
    return vg_test_report();
}
