/* fixtures_test.c -- every file of the reference engine's own tests and samples: what is valid
 * loads, what is not is refused at its line, pairs of mappings fit or are warned of. A file that no
 * row names fails the test. (device_mapping_test.c makes the measurements of golden/.) */
#include "connector/debugger.h"
#include "connector/device_mapping.h"
#include "connector/fhir_mapping.h"

#include "base/file.h"
#include "vg_test.h"

#include <ftw.h>
#include <unistd.h>

#define FOLDER VG_SOURCE_DIR "/../shared/data/connector/"

enum use {
    TEXT,        /* for people */
    JSON,        /* messages, parts, expected results */
    DEVICE,      /* a device mapping */
    DEVICE_ONE,  /* one template of it */
    DEVICE_LIST, /* its templates */
    FHIR,        /* a FHIR mapping */
    FHIR_ONE,    /* one template of it */
};

static const struct {
    const char *path;
    enum use use;
    unsigned line;         /* of the first error; 0 = none */
    unsigned medtech_line; /* where that is another */
} files[] = {
    {"INDEX.md", TEXT, 0, 0},
    {"LICENSE-azure-samples.txt", TEXT, 0, 0},
    {"LICENSE-iomt-fhir.txt", TEXT, 0, 0},
    {"fhir-tests/data_CodeValueFhirTemplate_Valid.json", JSON, 0, 0},
    {"generator/Codes/BloodPressure.json", JSON, 0, 0},
    {"generator/Codes/HeartRate.json", JSON, 0, 0},
    {"generator/Codes/OxygenSaturation.json", JSON, 0, 0},
    {"generator/Codes/VitalSigns.json", JSON, 0, 0},
    {"generator/Codes/diastolic.json", JSON, 0, 0},
    {"generator/Codes/systolic.json", JSON, 0, 0},
    {"generator/Expected/deviceData_BloodPressure.json", DEVICE_ONE, 0, 0},
    {"generator/Expected/deviceData_HeartRate.json", DEVICE_ONE, 0, 0},
    {"generator/Expected/deviceData_OxygenSaturation.json", DEVICE_ONE, 0, 0},
    {"generator/Expected/deviceData_Projection.json", DEVICE_LIST, 0, 0},
    {"generator/Expected/fhirMapping_BloodPressure.json", FHIR_ONE, 0, 0},
    {"generator/Expected/fhirMapping_HeartRate.json", FHIR_ONE, 0, 0},
    {"generator/Expected/fhirMapping_OxygenSaturation.json", FHIR_ONE, 0, 0},
    {"generator/TestInput/deviceData_BloodPressure.json", JSON, 0, 0},
    {"generator/TestInput/deviceData_HeartRate.json", JSON, 0, 0},
    {"generator/TestInput/deviceData_OxygenSaturation.json", JSON, 0, 0},
    {"generator/TestInput/deviceData_Projection.json", JSON, 0, 0},
    {"generator/Values/beatsPerMinute.json", JSON, 0, 0},
    {"generator/Values/diastolic.json", JSON, 0, 0},
    {"generator/Values/oxygenPercentage.json", JSON, 0, 0},
    {"generator/Values/systolic.json", JSON, 0, 0},
    {"golden/normalized.json", JSON, 0, 0},
    {"golden/template-validation.json", JSON, 0, 0},
    {"medtech-samples/calculatedcontent/conversions-using-functions/deviceMapping.json", DEVICE, 0,
     0},
    {"medtech-samples/calculatedcontent/conversions-using-functions/fhirDestinationMapping.json",
     FHIR, 0, 0},
    {"medtech-samples/calculatedcontent/conversions-using-functions/testMessageA.json", JSON, 0, 0},
    {"medtech-samples/calculatedcontent/conversions-using-functions/testMessageB.json", JSON, 0, 0},
    {"medtech-samples/iotjsonpathcontent/single-device-message-into-multiple-resources/"
     "deviceMapping.json",
     DEVICE, 0, 0},
    {"medtech-samples/iotjsonpathcontent/single-device-message-into-multiple-resources/"
     "fhirDestinationMapping.json",
     FHIR, 0, 0},
    {"medtech-samples/iotjsonpathcontent/single-device-message-into-multiple-resources/"
     "testMessage.json",
     JSON, 0, 0},
    {"sample-templates/basic/devicecontent.json", DEVICE, 0, 0},
    {"sample-templates/basic/fhirmapping.json", FHIR, 0, 0},
    {"sample-templates/healthkitOnFhir/devicecontent.json", DEVICE, 0, 0},
    {"sample-templates/healthkitOnFhir/fhirmapping.json", FHIR, 0, 0},
    {"sample-templates/sandbox/devicecontent.json", DEVICE, 0, 0},
    {"sample-templates/sandbox/fhirmapping.json", FHIR, 0, 0},
    {"sample-templates/sandbox/legacy/devicecontent.json", DEVICE, 0, 0},
    {"template-tests/data_CalculatedFunctionContentTemplateValid.json", DEVICE_ONE, 0, 0},
    {"template-tests/data_CalculatedFunctionContentTemplateValidExpressionObject.json", DEVICE_ONE,
     0, 0},
    {"template-tests/data_CalculatedFunctionContentTemplateValidInvalidAndMissingMembers.json",
     DEVICE_ONE, 5, 0},
    {"template-tests/data_CalculatedFunctionContentTemplateValidOptional.json", DEVICE_ONE, 0, 0},
    {"template-tests/data_CodeValueFhirTemplateInvalid_MissingCodeField.json", FHIR_ONE, 3, 0},
    {"template-tests/data_CodeValueFhirTemplateInvalid_MissingFields.json", FHIR_ONE, 3, 0},
    {"template-tests/data_CodeValueFhirTemplate_CodeableConceptAndStringComponent.json", FHIR_ONE,
     0, 0},
    {"template-tests/data_CodeValueFhirTemplate_CodeableConceptData.json", FHIR_ONE, 0, 0},
    {"template-tests/data_CodeValueFhirTemplate_Components.json", FHIR_ONE, 0, 0},
    {"template-tests/data_CodeValueFhirTemplate_Quantity.json", FHIR_ONE, 0, 0},
    {"template-tests/data_CodeValueFhirTemplate_SampledData.json", FHIR_ONE, 0, 0},
    {"template-tests/data_CodeValueFhirTemplate_String.json", FHIR_ONE, 0, 0},
    {"template-tests/data_CollectionContentTemplateEmpty.json", DEVICE, 2, 0},
    {"template-tests/data_CollectionContentTemplateEmptyWithType.json", DEVICE, 0, 0},
    {"template-tests/data_CollectionContentTemplateHrAndSteps.json", DEVICE, 0, 0},
    {"template-tests/data_CollectionContentTemplateHrAndStepsJmesPath.json", DEVICE, 0, 0},
    {"template-tests/data_CollectionContentTemplateInvalid.json", DEVICE, 6, 0},
    {"template-tests/data_CollectionContentTemplateMixed.json", DEVICE, 0, 0},
    {"template-tests/data_CollectionContentTemplateMixedValidity.json", DEVICE, 41, 0},
    {"template-tests/data_CollectionContentTemplateMultipleIotCentralJsonPath.json", DEVICE, 0, 0},
    {"template-tests/data_CollectionContentTemplateMultipleMocks.json", DEVICE, 5, 6},
    {"template-tests/data_CollectionFhirTemplateEmpty.json", FHIR, 2, 0},
    {"template-tests/data_CollectionFhirTemplateEmptyWithType.json", FHIR, 0, 0},
    {"template-tests/data_CollectionFhirTemplateInvalid.json", FHIR, 6, 0},
    {"template-tests/data_CollectionFhirTemplateMixed.json", FHIR, 2, 0},
    {"template-tests/data_CollectionFhirTemplateMixedValidity.json", FHIR, 20, 0},
    {"template-tests/data_CollectionFhirTemplateMultipleMocks.json", FHIR, 5, 0},
    {"template-tests/data_CollectionFhirTemplateValid.json", FHIR, 0, 0},
    {"template-tests/data_Documentation_CalculatedFunction_BloodPressure_Payload.json", JSON, 0, 0},
    {"template-tests/data_Documentation_CalculatedFunction_BloodPressure_Template.json", DEVICE, 0,
     0},
    {"template-tests/data_Documentation_CalculatedFunction_HeartRate_Payload.json", JSON, 0, 0},
    {"template-tests/data_Documentation_CalculatedFunction_HeartRate_Template.json", DEVICE, 0, 0},
    {"template-tests/data_Documentation_CalculatedFunction_MultipleMatches_Payload.json", JSON, 0,
     0},
    {"template-tests/data_Documentation_CalculatedFunction_MultipleMatches_Template.json", DEVICE,
     0, 0},
    {"template-tests/"
     "data_Documentation_CalculatedFunction_MultipleMeasurements_FromArray_Payload.json",
     JSON, 0, 0},
    {"template-tests/data_Documentation_CalculatedFunction_MultipleMeasurements_Payload.json", JSON,
     0, 0},
    {"template-tests/data_Documentation_CalculatedFunction_MultipleMeasurements_Template.json",
     DEVICE, 0, 0},
    {"template-tests/data_Documentation_CalculatedFunction_TransformData_Payload.json", JSON, 0, 0},
    {"template-tests/data_Documentation_CalculatedFunction_TransformData_Template.json", DEVICE, 0,
     0},
    {"template-tests/data_InvalidCollectionContentTemplateWithNoTemplateArray.json", DEVICE, 3, 0},
    {"template-tests/data_InvalidCollectionFhirTemplateWithNoTemplateArray.json", FHIR, 3, 0},
    {"template-tests/data_InvalidJson.txt", DEVICE, 3, 0},
    {"template-tests/data_InvalidTemplateType.json", DEVICE, 2, 0},
    {"template-tests/data_IotCentralJsonPathContentTemplateInvalidMissingTypeMetadata.json",
     DEVICE_ONE, 3, 0},
    {"template-tests/data_IotCentralJsonPathContentTemplateInvalidMissingValueField.json",
     DEVICE_ONE, 7, 0},
    {"template-tests/data_IotCentralJsonPathContentTemplateValid.json", DEVICE_ONE, 0, 0},
    {"template-tests/data_IotCentralJsonPathContentTemplateValidWithOptional.json", DEVICE_ONE, 0,
     0},
    {"template-tests/data_IotCentralPayloadExample.json", JSON, 0, 0},
    {"template-tests/data_IotCentralPayloadExampleMultipleMessages.json", JSON, 0, 0},
    {"template-tests/data_IotHubPayloadExample.json", JSON, 0, 0},
    {"template-tests/data_IotHubPayloadExampleMissingCreateTime.json", JSON, 0, 0},
    {"template-tests/data_IotHubPayloadMultiValueExample.json", JSON, 0, 0},
    {"template-tests/data_IotJsonPathContentTemplateInvalidMissingTypeMetadata.json", DEVICE_ONE, 3,
     0},
    {"template-tests/data_IotJsonPathContentTemplateInvalidMissingValueField.json", DEVICE_ONE, 7,
     0},
    {"template-tests/data_IotJsonPathContentTemplateValid.json", DEVICE_ONE, 0, 0},
    {"template-tests/data_IotJsonPathContentTemplateValidWithOptional.json", DEVICE_ONE, 0, 0},
    {"template-tests/data_JsonPathContentTemplateInvalidMissingExpression.json", DEVICE_ONE, 3, 0},
    {"template-tests/data_JsonPathContentTemplateValid.json", DEVICE_ONE, 0, 0},
    {"template-tests/data_JsonPathContentTemplateValidWithOptional.json", DEVICE_ONE, 0, 0},
    {"validation-tests/data_CodeValueFhirTemplateInvalid_MissingFields.json", FHIR_ONE, 3, 0},
    {"validation-tests/data_CollectionContentTemplateHrAndBloodPressureValid.json", DEVICE, 0, 0},
    {"validation-tests/data_CollectionContentTemplateInvalid.json", DEVICE, 6, 0},
    {"validation-tests/data_CollectionFhirTemplateIncorrectValueNameInvalid.json", FHIR, 0, 0},
    {"validation-tests/data_CollectionFhirTemplateMissingTypeInvalid.json", FHIR, 0, 0},
    {"validation-tests/data_CollectionFhirTemplateValid.json", FHIR, 0, 0},
};

struct checked {
    struct vg_arena arena;
    struct mapping_errors errors;
};

/* The file as a whole mapping: one template, or a list of them, gets a collection around it. */
static void load(struct checked *c, const char *path, enum use use, bool is_medtech)
{
    bool is_fhir = use == FHIR || use == FHIR_ONE;
    const struct device_mapping *device;
    const struct fhir_mapping *fhir;
    struct vg_slice text = {0};

    c->errors = (struct mapping_errors){.arena = &c->arena, .is_medtech = is_medtech};
    CHECK(vg_file_read(&c->arena, path, 0, &text, NULL) == VG_OK);
    if (vg_slice_starts(text, VG_SLICE("\xef\xbb\xbf")) && use != DEVICE && use != FHIR)
        text = vg_slice_from(text, 3);
    if (use == DEVICE_ONE || use == DEVICE_LIST || use == FHIR_ONE)
        text = vg_arena_printf(&c->arena, "{\"templateType\":\"%s\",\"template\":%s%.*s%s}",
                               is_fhir ? "CollectionFhir" : "CollectionContent",
                               use == DEVICE_LIST ? "" : "[", VG_FMT(text),
                               use == DEVICE_LIST ? "" : "]");
    c->errors.source = text;
    if (is_fhir)
        (void)!fhir_mapping_load(&c->errors, &fhir, NULL);
    else
        (void)!device_mapping_load(&c->errors, &device, NULL);
}

static void test_every_file(void)
{
    for (size_t k = 0; k < 2 * sizeof(files) / sizeof(files[0]); k++) {
        size_t i = k / 2;
        bool is_medtech = k % 2;
        unsigned want = is_medtech && files[i].medtech_line ? files[i].medtech_line : files[i].line;
        struct checked c;
        char path[512];

        vg_arena_init(&c.arena, 0);
        CHECK_ROW(files[i].path);
        (void)snprintf(path, sizeof(path), "%s%s", FOLDER, files[i].path);
        if (files[i].use == TEXT) {
            CHECK(access(path, R_OK) == 0);
        } else if (files[i].use == JSON) {
            const struct vg_json_options lenient = {.is_lenient = true, .values_max = 1000000};
            struct vg_slice text;
            struct vg_json *root;

            CHECK(vg_file_read(&c.arena, path, 0, &text, NULL) == VG_OK &&
                  vg_json_parse(&c.arena, text, &lenient, &root, NULL, NULL) == VG_OK);
        } else {
            load(&c, path, files[i].use, is_medtech);
            CHECK((c.errors.count > 0) == (want > 0));
            if (!CHECK(!c.errors.first || c.errors.first->line == want))
                printf("  line %u: %.*s\n", c.errors.first->line, VG_FMT(c.errors.first->text));
        }
        vg_arena_fini(&c.arena);
    }
}

static size_t found;

static int find_row(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)ftw;
    if (type != FTW_F)
        return 0;
    found++;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (strcmp(path + sizeof(FOLDER) - 1, files[i].path) == 0)
            return 0;
    printf("  %s\n", path);
    CHECK(!"a file that no row names");
    return 0;
}

static void test_no_file_is_left_out(void)
{
    found = 0;
    CHECK(nftw(FOLDER, find_row, 16, FTW_PHYS) == 0);
    CHECK(found == sizeof(files) / sizeof(files[0]));
}

/* Every line that the reference engine told of an invalid file is told here, too. */
static void test_lines_of_the_reference(void)
{
    struct vg_arena arena;
    struct vg_slice text;
    struct vg_json *root = NULL;

    vg_arena_init(&arena, 0);
    CHECK(vg_file_read(&arena, FOLDER "golden/template-validation.json", 0, &text, NULL) == VG_OK &&
          vg_json_parse(&arena, text, NULL, &root, NULL, NULL) == VG_OK);
    for (const struct vg_json *at = root ? root->child : NULL; at; at = at->next) {
        const struct vg_json *errors = vg_json_get(at, "errors");
        struct vg_slice file = vg_json_get_text(at, "file");
        struct checked c;
        char path[512];

        (void)snprintf(path, sizeof(path), "%stemplate-tests/%.*s", FOLDER, VG_FMT(file));
        if (access(path, R_OK) != 0)
            continue; /* the samples, all valid */
        vg_arena_init(&c.arena, 0);
        CHECK_ROW(path);
        load(&c, path, strstr(path, "Fhir") ? FHIR : DEVICE, true);
        CHECK((c.errors.count > 0) == vg_slice_is(vg_json_get_text(at, "result"), "invalid"));
        for (const struct vg_json *e = errors ? errors->child : NULL; e; e = e->next) {
            unsigned line;
            bool is_told = false;

            if (sscanf(vg_json_text(e).ptr, "Line Number: %u", &line) != 1)
                continue;
            for (const struct mapping_error *m = c.errors.first; m; m = m->next)
                is_told |= m->line == line;
            if (!CHECK(is_told))
                printf("  %.*s\n", VG_FMT(vg_json_text(e)));
        }
        vg_arena_fini(&c.arena);
    }
    vg_arena_fini(&arena);
}

static void count(void *ctx, const struct debugger_finding *finding)
{
    unsigned *counts = ctx;

    counts[finding->is_warning]++;
}

static void test_pairs(void)
{
#define V "validation-tests/data_Collection"
    static const struct {
        const char *device, *fhir;
        unsigned errors, warnings;
    } pairs[] = {
        {V "ContentTemplateHrAndBloodPressureValid.json", V "FhirTemplateValid.json", 0, 0},
        {V "ContentTemplateHrAndBloodPressureValid.json", V "FhirTemplateMissingTypeInvalid.json",
         0, 1},
        {V "ContentTemplateHrAndBloodPressureValid.json",
         V "FhirTemplateIncorrectValueNameInvalid.json", 0, 1},
        {V "ContentTemplateInvalid.json", V "FhirTemplateValid.json", 3, 0},
        {"sample-templates/basic/devicecontent.json", "sample-templates/basic/fhirmapping.json", 0,
         0},
        {"sample-templates/healthkitOnFhir/devicecontent.json",
         "sample-templates/healthkitOnFhir/fhirmapping.json", 0, 0},
        {"sample-templates/sandbox/devicecontent.json", "sample-templates/sandbox/fhirmapping.json",
         0, 0},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct vg_arena arena;
        struct vg_slice device = {0}, fhir = {0};
        unsigned counts[2] = {0, 0};
        struct debugger *d;
        char path[512];
        size_t errors;

        vg_arena_init(&arena, 0);
        CHECK_ROW(pairs[i].fhir);
        (void)snprintf(path, sizeof(path), "%s%s", FOLDER, pairs[i].device);
        CHECK(vg_file_read(&arena, path, 0, &device, NULL) == VG_OK);
        (void)snprintf(path, sizeof(path), "%s%s", FOLDER, pairs[i].fhir);
        CHECK(vg_file_read(&arena, path, 0, &fhir, NULL) == VG_OK);
        d = debugger_open(&arena, device, fhir, false, &errors);
        if (CHECK(d != NULL))
            debugger_findings(d, count, counts);
        if (!CHECK(counts[0] == pairs[i].errors && counts[1] == pairs[i].warnings))
            printf("  %u errors, %u warnings\n", counts[0], counts[1]);
        debugger_close(d);
        vg_arena_fini(&arena);
    }
}

int main(void)
{
    if (access(FOLDER "INDEX.md", R_OK) != 0) {
        SKIP("the reference engine's files are not here");
        return vg_test_report();
    }
    RUN(test_every_file);
    RUN(test_no_file_is_left_out);
    RUN(test_lines_of_the_reference);
    RUN(test_pairs);
    return vg_test_report();
}
