import { Field } from "../../components/Field";
import { Icon } from "../../components/Icon";
import { fieldLabel, plural, setting } from "../../format";
import type { TrainConfig } from "../../model/wire_types";
import { changeDraft, draft, type Variation, valueOf } from "../../store/draft";
import { orderedDatasets } from "../../store/queue";
import { VARIABLE_FIELDS } from "../../store/typed";
import { fieldId } from "./field_groups";
import { Folded } from "./Folded";

const MOST_VARIED = 2;
const CHOICES = [...VARIABLE_FIELDS].sort((a, b) => fieldLabel(a.name).localeCompare(fieldLabel(b.name)));

/** The same for several datasets, and a sweep over the values of one or two settings: one job for each combination. */
export function SeveralAtOnce({ preset, errors, jobCount }: { preset: TrainConfig | null; errors: Readonly<Record<string, string>>; jobCount: number }) {
  const form = draft.value;
  const trains = form.kind === "train";
  const others = orderedDatasets.value.filter(({ id, clips }) => clips > 0 && String(id) !== form.dataset);
  if (others.length === 0 && !trains) return null;
  const isUsed = form.datasets.length > 0 || form.vary.length > 0;
  const change = (index: number, fresh: Partial<Variation>): void =>
    changeDraft({ vary: form.vary.map((one, at) => (at === index ? { ...one, ...fresh } : one)) });
  return (
    <Folded title="Several at once" summary={jobCount > 1 ? `${plural(jobCount, "job")}` : trains ? "other datasets, or a sweep over values" : "other datasets"} isUsed={isUsed} hasError={Object.keys(errors).some((name) => name.startsWith("vary") || name.startsWith("datasets"))}>
      {others.length > 0 && (
        <fieldset class="choices">
          <legend>Also for</legend>
          <div class="dataset-checks">
            {others.map(({ id, name, clips }) => (
              <label key={id} class="check">
                <input
                  type="checkbox"
                  checked={form.datasets.includes(String(id))}
                  onChange={(event) => changeDraft({ datasets: event.currentTarget.checked ? [...form.datasets, String(id)] : form.datasets.filter((one) => one !== String(id)) })}
                />
                <span>{name} <span class="muted small">{plural(clips, "clip")}</span></span>
              </label>
            ))}
          </div>
          {errors["datasets"] && <p class="field-error" role="alert">{errors["datasets"]}</p>}
        </fieldset>
      )}
      {trains && form.vary.map((one, index) => {
        const error = errors[`vary.${index}`] ?? (one.field ? errors[`vary.${one.field}`] ?? errors[one.field] : undefined);
        const usual = valueOf(preset, one.field);
        return (
          <div key={index} class="vary">
            <Field id={fieldId(`vary.setting.${index}`)} label={index === 0 ? "Vary" : "And vary"}>
              {(props) => (
                <select {...props} class="select" value={one.field} onChange={(event) => change(index, { field: event.currentTarget.value })}>
                  <option value="">Choose a setting …</option>
                  {CHOICES.map(({ name }) => <option key={name} value={name}>{fieldLabel(name)}</option>)}
                </select>
              )}
            </Field>
            <Field id={fieldId(`vary.${index}`)} label="Over these values" error={error}>
              {(props) => (
                <input
                  {...props}
                  class="input number"
                  autoComplete="off"
                  spellcheck={false}
                  placeholder={usual === undefined ? "" : `such as ${setting(usual)}, …`}
                  value={one.values}
                  onInput={(event) => change(index, { values: event.currentTarget.value })}
                />
              )}
            </Field>
            <button type="button" class="button button-small button-icon" aria-label={`Do not vary ${one.field ? fieldLabel(one.field) : "this"}`} title="Do not vary this" onClick={() => changeDraft({ vary: form.vary.filter((_, at) => at !== index) })}><Icon name="close" /></button>
          </div>
        );
      })}
      {trains && form.vary.length < MOST_VARIED && (
        <p><button type="button" class="button button-small" onClick={() => changeDraft({ vary: [...form.vary, { field: "", values: "" }] })}><Icon name="plus" />{form.vary.length > 0 ? "Vary another setting" : "Vary a setting"}</button></p>
      )}
      {jobCount > 1 && <p class="note note-tip" role="status">This becomes {plural(jobCount, "job")}, one for each combination. They are one batch, to be looked at and cancelled together.</p>}
    </Folded>
  );
}
