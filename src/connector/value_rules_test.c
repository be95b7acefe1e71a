/* value_rules_test.c -- units, limits, interpretation and reference ranges of a FHIR mapping. */
#include "connector/value_rules.h"

#include "connector/group.h"
#include "vg_test.h"

#define T0 INT64_C(1773482400000000) /* 2026-03-14T10:00:00Z */

#define TEMPLATE(members)                                                                          \
    "{\"templateType\":\"CollectionFhir\",\"template\":[{\"templateType\":\"CodeValueFhir\","      \
    "\n\"template\":{\"typeName\":\"x\",\"codes\":[{\"code\":\"8310-5\",\"system\":"               \
    "\"http://loinc.org\"}],\n" members "}}]}"
#define QUANTITY(unit)                                                                             \
    "\"value\":{\"valueType\":\"Quantity\",\"valueName\":\"v\",\"unit\":\"" unit                   \
    "\",\"code\":\"" unit "\",\"system\":\"http://unitsofmeasure.org\"}"
#define SAMPLED                                                                                    \
    "\"periodInterval\":60,\"value\":{\"valueType\":\"SampledData\",\"valueName\":\"v\","          \
    "\"unit\":\"mV\",\"defaultPeriod\":1000}"
#define TEXT "\"value\":{\"valueType\":\"String\",\"valueName\":\"v\"}"

static const struct fhir_mapping *load(struct vg_arena *arena, const char *text, bool is_medtech,
                                       struct vg_err *err)
{
    struct mapping_errors errors = {
        .arena = arena, .source = vg_slice_of(text), .is_medtech = is_medtech};
    const struct fhir_mapping *mapping = NULL;

    return fhir_mapping_load(&errors, &mapping, err) == VG_OK ? mapping : NULL;
}

static const struct {
    const char *name, *text, *error; /* NULL: fine */
} loads[] = {
    {"everything",
     TEMPLATE(QUANTITY("Cel") ",\"fromUnit\":\"[degF]\",\"limits\":{\"low\":25,"
                              "\"high\":45,\"outside\":\"error\",\"notANumber\":\"not-a-number\"},"
                              "\"interpretation\":{\"LL\":34,\"L\":36,\"H\":38,\"HH\":40},"
                              "\"referenceRange\":{\"low\":36.1,\"high\":37.5,\"text\":\"adult\"}"),
     NULL},
    {"names ignore case", TEMPLATE(QUANTITY("Cel") ",\"FROMUNIT\":\"K\",\"Limits\":{\"Low\":1}"),
     NULL},
    {"a unit that is no UCUM unit", TEMPLATE(QUANTITY("Cel") ",\n  \"fromUnit\": \"degF\""),
     "line 4, column 15: 'fromUnit': UCUM has no unit 'degF'"},
    {"a unit of something else", TEMPLATE(QUANTITY("Cel") ",\n\"fromUnit\":\"kg\""),
     "line 4, column 12: 'fromUnit': 'kg' does not measure what 'Cel' does"},
    {"the value's unit is no UCUM unit", TEMPLATE(QUANTITY("mmHg") ",\"fromUnit\":\"kPa\""),
     "UCUM has no unit 'mmHg'"},
    {"the value has no unit",
     TEMPLATE("\"value\":{\"valueType\":\"Quantity\",\"valueName\":\"v\"},\"fromUnit\":\"kPa\""),
     "the value has no UCUM unit to convert to"},
    {"the unit's text where there is no code",
     TEMPLATE("\"value\":{\"valueType\":\"Quantity\",\"valueName\":\"v\",\"unit\":\"kPa\"},"
              "\"fromUnit\":\"mm[Hg]\""),
     NULL},
    {"an amount and a mass", TEMPLATE(QUANTITY("mg/dL") ",\"fromUnit\":\"mmol/L\""),
     "(an amount needs a molarMass)"},
    {"a molar mass", TEMPLATE(QUANTITY("mg/dL") ",\"fromUnit\":\"mmol/L\",\"molarMass\":180.156"),
     NULL},
    {"a molar mass that is none",
     TEMPLATE(QUANTITY("mg/dL") ",\"fromUnit\":\"mmol/L\",\n\"molarMass\":\"glucose\""),
     "line 4, column 13: 'molarMass': expected grams per mole"},
    {"a molar mass that nobody needs",
     TEMPLATE(QUANTITY("kPa") ",\"fromUnit\":\"mm[Hg]\",\"molarMass\":18"), "which need none"},
    {"a molar mass alone", TEMPLATE(QUANTITY("mg/dL") ",\"molarMass\":180.156"),
     "'molarMass' without 'fromUnit'"},
    {"a unit that is no text", TEMPLATE(QUANTITY("Cel") ",\"fromUnit\":7"), "as text"},
    {"a rule without a value", TEMPLATE("\"fromUnit\":\"K\""),
     "'fromUnit': only of a Quantity or SampledData value"},
    {"a rule of a text", TEMPLATE(TEXT ",\n\"limits\":{\"low\":1}"),
     "line 4, column 10: 'limits': only of"},
    {"limits of samples", TEMPLATE(SAMPLED ",\"limits\":{\"low\":-5,\"high\":5}"), NULL},
    {"a reason for samples", TEMPLATE(SAMPLED ",\"limits\":{\"low\":-5,\"outside\":\"error\"}"),
     "SampledData has no reason"},
    {"an interpretation of samples", TEMPLATE(SAMPLED ",\"interpretation\":{\"H\":5}"),
     "only of a Quantity"},
    {"a unit of samples", TEMPLATE(SAMPLED ",\"fromUnit\":\"V\""), NULL},
    {"limits that are no object", TEMPLATE(QUANTITY("Cel") ",\"limits\":7"), "expected an object"},
    {"limits of nothing", TEMPLATE(QUANTITY("Cel") ",\"limits\":{}"), "expected low, high or"},
    {"limits the wrong way round", TEMPLATE(QUANTITY("Cel") ",\n\"limits\":{\"low\":5,\"high\":1}"),
     "line 4, column 10: 'limits': low is above high"},
    {"a limit that is no number", TEMPLATE(QUANTITY("Cel") ",\n\"limits\":{\"low\":\"5\"}"),
     "line 4, column 17: 'low': expected a number"},
    {"an unknown member of limits", TEMPLATE(QUANTITY("Cel") ",\"limits\":{\"low\":5,\"x\":1}"),
     "unknown member 'x'"},
    {"an unknown reason", TEMPLATE(QUANTITY("Cel") ",\"limits\":{\"low\":5,\n\"outside\":\"bad\"}"),
     "line 4, column 11: 'outside': expected deadLetter or a reason"},
    {"a reason that says what was not sent",
     TEMPLATE(QUANTITY("Cel") ",\"limits\":{\"low\":5,\"outside\":\"unknown\"}"), "'outside'"},
    {"the letter by name",
     TEMPLATE(QUANTITY("Cel") ",\"limits\":{\"low\":5,\"outside\":"
                              "\"deadLetter\"}"),
     NULL},
    {"only what is no number",
     TEMPLATE(QUANTITY("Cel") ",\"limits\":{\"notANumber\":\"not-a-number\"}"), NULL},
    {"thresholds out of order",
     TEMPLATE(QUANTITY("Cel") ",\"interpretation\":{\"L\":36,\n\"H\":35}"),
     "line 4, column 5: 'interpretation': expected LL <= L <= H <= HH"},
    {"no thresholds", TEMPLATE(QUANTITY("Cel") ",\"interpretation\":{}"),
     "expected LL, L, H or HH"},
    {"an unknown interpretation", TEMPLATE(QUANTITY("Cel") ",\"interpretation\":{\"HU\":1}"),
     "unknown member 'HU'"},
    {"a range of nothing", TEMPLATE(QUANTITY("Cel") ",\"referenceRange\":{}"),
     "'referenceRange': expected low, high or text"},
    {"a range of a blank text", TEMPLATE(QUANTITY("Cel") ",\"referenceRange\":{\"text\":\" \"}"),
     "'referenceRange': expected low, high or text"},
    {"a range in words", TEMPLATE(QUANTITY("Cel") ",\"referenceRange\":{\"text\":\"adult\"}"),
     NULL},
    {"a range the wrong way round",
     TEMPLATE(QUANTITY("Cel") ",\"referenceRange\":{\"low\":5,\"high\":1}"), "low is above high"},
    {"a rule that is null is none", TEMPLATE(QUANTITY("Cel") ",\"limits\":null"), NULL},
    {"a rule inside value is no rule",
     TEMPLATE("\"value\":{\"valueType\":\"Quantity\",\"valueName\":\"v\",\"limits\":7}"), NULL},
    {"of a component",
     TEMPLATE("\"components\":[{\"codes\":[]," QUANTITY("kPa") ",\"fromUnit\":\"mm[Hg]\"}]"), NULL},
    {"a wrong one of a component",
     TEMPLATE("\"components\":[{\"codes\":[]," QUANTITY("kPa") ",\n\"fromUnit\":\"mmHg\"}]"),
     "line 4, column 12: 'fromUnit': UCUM has no unit 'mmHg'"},
};

static void test_load(void)
{
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        struct vg_arena arena;
        struct vg_err err = {0};

        vg_arena_init(&arena, 0);
        CHECK_ROW(loads[i].name);
        CHECK((load(&arena, loads[i].text, false, &err) != NULL) == (loads[i].error == NULL));
        if (loads[i].error ? !CHECK(strstr(err.text, loads[i].error) != NULL) : err.code != NULL)
            printf("  got %s\n", err.text);
        vg_arena_fini(&arena);
    }
}

/* What MedTech does not know it refuses, at the member's place. */
static void test_medtech_refuses(void)
{
    static const char *const members[] = {
        ",\"fromUnit\":\"[degF]\"", ",\"molarMass\":1", ",\"limits\":{\"low\":1}",
        ",\"interpretation\":{\"H\":1}", ",\"referenceRange\":{\"low\":1}"};

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        struct vg_arena arena;
        struct vg_err err = {0};
        char text[1024];

        vg_arena_init(&arena, 0);
        CHECK_ROW(members[i]);
        (void)snprintf(text, sizeof(text), "%s%s%s",
                       "{\"templateType\":\"CollectionFhir\",\"template\":[{\"templateType\":"
                       "\"CodeValueFhir\",\"template\":{\"typeName\":\"x\",\"codes\":"
                       "[]," QUANTITY("Cel"),
                       members[i], "}}]}");
        CHECK(load(&arena, text, true, &err) == NULL);
        CHECK(strstr(err.text, "unknown member '") != NULL);
        vg_arena_fini(&arena);
    }
}

#define VITAL                                                                                      \
    TEMPLATE(QUANTITY(                                                                             \
        "Cel") ",\"fromUnit\":\"[degF]\",\"limits\":{\"low\":25,\"high\":45,"                      \
               "\"outside\":\"error\",\"notANumber\":\"not-a-number\"},\"interpretation\":{"       \
               "\"LL\":"                                                                           \
               "34,\"L\":36,\"H\":38,\"HH\":40},\"referenceRange\":{\"low\":36.1,\"high\":37.5}")
#define CODES(c, d)                                                                                \
    "\"interpretation\":[{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"        \
    "v3-ObservationInterpretation\",\"code\":\"" c "\",\"display\":\"" d "\"}]}]"
#define ABSENT(c)                                                                                  \
    "\"dataAbsentReason\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"       \
    "data-absent-reason\",\"code\":\"" c "\"}]}"
#define RANGE                                                                                      \
    "\"referenceRange\":[{\"low\":{\"value\":36.1,\"unit\":\"Cel\",\"system\":"                    \
    "\"http://unitsofmeasure.org\",\"code\":\"Cel\"},\"high\":{\"value\":37.5,\"unit\":\"Cel\","   \
    "\"system\":\"http://unitsofmeasure.org\",\"code\":\"Cel\"}}]"
#define CELSIUS(v)                                                                                 \
    "\"valueQuantity\":{\"value\":" v ",\"unit\":\"Cel\",\"system\":"                              \
    "\"http://unitsofmeasure.org\",\"code\":\"Cel\"}"
#define BARE(members) TEMPLATE(QUANTITY("1") "," members)

static const struct {
    const char *name, *text, *value;
    const char *want;   /* what follows the effective time; "!code": refused */
    const char *header; /* the value for enrich, or NULL: it is left out */
} rows[] = {
    {"a normal one", VITAL, "97.88", CELSIUS("36.6") "," CODES("N", "Normal") "," RANGE "}",
     "\"value\":36.6,\"unit\":\"Cel\""},
    {"a high one", VITAL, "101.3", CELSIUS("38.5") "," CODES("H", "High") "," RANGE "}",
     "\"value\":38.5,"},
    {"a critical one", VITAL, "105", CELSIUS("40.5555555555556") "," CODES("HH", "Critical high"),
     "\"value\":40.5555555555556,"},
    {"a low one", VITAL, "95", CELSIUS("35") "," CODES("L", "Low"), "\"value\":35,"},
    {"a critical low one", VITAL, "91.4", CELSIUS("33") "," CODES("LL", "Critical low"),
     "\"value\":33,"},
    {"at the threshold it is normal still", VITAL, "100.4", CELSIUS("38") "," CODES("N", "Normal"),
     "\"value\":38,"},
    {"one that cannot be", VITAL, "32", ABSENT("error") "," RANGE "}", NULL},
    {"one that is no number", VITAL, "---", ABSENT("not-a-number") "," RANGE "}", NULL},
    {"NaN", VITAL, "NaN", ABSENT("not-a-number"), NULL},
    {"at the limit it can be", VITAL, "113", CELSIUS("45"), "\"value\":45,"},
    {"a letter beyond the limits", BARE("\"limits\":{\"low\":1}"), "0.99", "!connector.limits",
     NULL},
    {"a letter without a number", BARE("\"limits\":{\"low\":1}"), "x", "!connector.quantity", NULL},
    {"one side alone", BARE("\"interpretation\":{\"H\":5}"), "5.01",
     "\"valueQuantity\":{\"value\":5.01,\"unit\":\"1\",\"system\":\"http://unitsofmeasure.org\","
     "\"code\":\"1\"}," CODES("H", "High") "}",
     "\"value\":5.01,"},
    {"the digits of what is not converted stay", BARE("\"limits\":{\"low\":1}"), " 72.50 ",
     "\"valueQuantity\":{\"value\":72.50,", "\"value\":72.50,"},
    {"glucose", TEMPLATE(QUANTITY("mg/dL") ",\"fromUnit\":\"mmol/L\",\"molarMass\":180.156"), "5.5",
     "\"valueQuantity\":{\"value\":99.0858,\"unit\":\"mg/dL\",", "\"value\":99.0858,"},
    {"an exponent", TEMPLATE(QUANTITY("g") ",\"fromUnit\":\"kg\""), "1.5E-3",
     "\"valueQuantity\":{\"value\":1.5,", "\"value\":1.5,"},
    {"a component",
     TEMPLATE("\"components\":[{\"codes\":[{\"code\":\"c\"}]," QUANTITY(
         "kPa") ",\"fromUnit\":\"mm[Hg]\",\"interpretation\":{\"H\":15},"
                "\"referenceRange\":{\"text\":\"rest\"}}]"),
     "120",
     "\"component\":[{\"code\":{\"coding\":[{\"code\":\"c\"}],\"text\":\"v\"},\"valueQuantity\":{"
     "\"value\":15.99864,\"unit\":\"kPa\",\"system\":\"http://unitsofmeasure.org\",\"code\":"
     "\"kPa\"}," CODES("H", "High") ",\"referenceRange\":[{\"text\":\"rest\"}]}]}",
     "\"value\":15.99864,\"unit\":\"kPa\""},
    {"a component that cannot be",
     TEMPLATE("\"components\":[{\"codes\":[{\"code\":\"c\"}]," QUANTITY(
         "kPa") ",\"limits\":{\"low\":1,\"outside\":\"error\"}}]"),
     "0", "\"text\":\"v\"}," ABSENT("error") "}]}", NULL},
    {"a sample", TEMPLATE(SAMPLED ",\"fromUnit\":\"V\",\"limits\":{\"high\":2000}"), "0.0125",
     "\"dimensions\":1,\"data\":\"12.5 E", "\"value\":12.5,"},
    {"a sample that cannot be", TEMPLATE(SAMPLED ",\"fromUnit\":\"V\",\"limits\":{\"high\":2000}"),
     "2.5", "!connector.limits", NULL},
};

/* Writes what the mapping makes of the value into `out`; read back and added to once more. */
static const char *observe(struct vg_arena *arena, const struct fhir_template *t, const char *value,
                           struct vg_buf *out)
{
    struct measurement_value v = {.name = VG_SLICE("v"), .text = vg_slice_of(value)};
    struct measurement m = {.type = VG_SLICE("x"),
                            .device_id = VG_SLICE("d"),
                            .occurrence_us = T0,
                            .ingestion_us = T0,
                            .values = &v};
    struct vg_slice first = {0};
    struct vg_err err = {0};

    for (int i = 0; i < 2; i++) {
        struct group_table table = {0};
        struct observation *o;
        bool is_new;

        vg_buf_clear(out);
        CHECK(group_open(&table, arena, t, &m, VG_SLICE("p1"), VG_SLICE("d1"), &o, &is_new, &err) ==
              VG_OK);
        if (i == 1 && !CHECK(observation_load(o, arena, first, 1, &err) == VG_OK))
            printf("  %s\n", err.text);
        if (observation_add(o, arena, &m, &err) != VG_OK) {
            vg_buf_printf(out, "!%s", err.code);
            break;
        }
        CHECK(o->is_changed == (i == 0));
        observation_write(o, out);
        if (i == 1)
            CHECK(vg_slice_eq(first, vg_buf_slice(out)));
        first = vg_arena_dup(arena, vg_buf_slice(out));
    }
    vg_buf_put_byte(out, 0);
    return out->ptr;
}

static void test_apply(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct fhir_mapping *mapping;
        struct vg_arena arena;
        struct vg_buf out;
        struct vg_err err = {0};
        const char *got;

        vg_arena_init(&arena, 0);
        vg_buf_init(&out, 0);
        CHECK_ROW(rows[i].name);
        mapping = load(&arena, rows[i].text, false, &err);
        if (!CHECK(mapping != NULL)) {
            printf("  %s\n", err.text);
        } else {
            const struct fhir_template *t = fhir_mapping_first(mapping);
            struct measurement_value v = {.name = VG_SLICE("v"),
                                          .text = vg_slice_of(rows[i].value)};
            struct measurement m = {.values = &v};

            got = observe(&arena, t, rows[i].value, &out);
            if (!CHECK(strstr(got, rows[i].want) != NULL))
                printf("  got %s\n", got);
            vg_buf_clear(&out);
            observation_write_values(t, &m, &out);
            vg_buf_put_byte(&out, 0);
            if (!CHECK(rows[i].header ? strstr(out.ptr, rows[i].header) != NULL
                                      : strcmp(out.ptr, "[]") == 0))
                printf("  got %s\n", out.ptr);
        }
        vg_buf_fini(&out);
        vg_arena_fini(&arena);
    }
}

int main(void)
{
    RUN(test_load);
    RUN(test_medtech_refuses);
    RUN(test_apply);
    return vg_test_report();
}
