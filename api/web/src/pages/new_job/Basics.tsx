import { Field } from "../../components/Field";
import { plural } from "../../format";
import type { PresetName } from "../../model/wire_types";
import { changeDraft, draft, startOf, valueOf } from "../../store/draft";
import type { JobDetail } from "../../model/job";
import { orderedDatasets } from "../../store/queue";
import { deviceChoices } from "../../store/where";
import { TRAIN_FIELDS } from "../../train_fields";
import { Choices } from "./Choices";
import { ConfigField } from "./ConfigField";
import { kindText } from "../queue/JobRow";
import { fieldId } from "./field_groups";
import type { Presets } from "./form_check";

const KINDS = [
  { value: "train", title: "Train a model", text: "Learns from the sounds; features are made on the way." },
  { value: "preprocess", title: "Only preprocess", text: "Makes the features now, so that later trainings start at once." },
] as const;

const REPRESENTATIONS = [
  { value: "mel", title: "Mel", text: "Loudness over frequency and time. Small, quick, a good start." },
  { value: "mel_if", title: "Mel + frequency", text: "Adds exact pitch within each band. Clearer tones, a five times larger model." },
] as const;

const PRESETS: readonly { value: PresetName; title: string; text: string }[] = [
  { value: "auto", title: "Auto", text: "What measured best on held-out sounds." },
  { value: "conservative", title: "Conservative", text: "Strong regularisation, for under 50 files." },
  { value: "balanced", title: "Balanced", text: "For 50 to 199 files." },
  { value: "aggressive", title: "Aggressive", text: "Fast and long, for 200 files and more." },
];

const EPOCHS = TRAIN_FIELDS.find(({ name }) => name === "epochs");

/** What everybody decides; of a job that is edited, dataset and representation are what they are. */
export function Basics({ presets, errors, editing }: {
  presets: Presets | null;
  errors: Readonly<Record<string, string>>;
  editing: JobDetail | undefined;
}) {
  const form = draft.value;
  const trains = form.kind === "train";
  const preset = presets?.presets.find((one) => one.preset === form.preset)?.train ?? null;
  const recommended = new Map(presets?.presets.map((one) => [one.preset, one.recommendedFor]));
  return (
    <section class="card form-card" aria-label="Basics">
      {editing && <p class="muted">{kindText(editing)}, <a href={`/datasets/${editing.dataset.id}`}>{editing.dataset.name}</a>, {plural(editing.dataset.clips, "clip")}. These stay; a duplicate can have others.</p>}
      {!editing && <Choices legend="What to do" name="kind" value={form.kind} choices={KINDS} onChange={(kind) => changeDraft({ kind })} />}
      {!editing && <Field id={fieldId("dataset")} label="Dataset" error={errors["dataset"]}>
        {(props) => (
          <select {...props} class="select" value={form.dataset} onChange={(event) => changeDraft({ dataset: event.currentTarget.value })}>
            <option value="">Choose one …</option>
            {orderedDatasets.value.map((dataset) => (
              <option key={dataset.id} value={String(dataset.id)} disabled={dataset.clips === 0}>
                {dataset.name} ({plural(dataset.clips, "clip")})
              </option>
            ))}
          </select>
        )}
      </Field>}
      {!editing && !startOf(form) && <Choices legend="Representation" name="representation" value={form.representation} choices={REPRESENTATIONS} onChange={(representation) => changeDraft({ representation })} />}
      {(!editing || trains) && (
        <Choices
          legend="Preset"
          name="preset"
          value={form.preset}
          choices={PRESETS.map((one) => ({ ...one, text: recommended.get(one.value) || one.text }))}
          onChange={(chosen) => changeDraft({ preset: chosen })}
        />
      )}
      <div class="field-grid">
        {trains && EPOCHS && <ConfigField field={EPOCHS} preset={valueOf(preset, "epochs")} error={errors["epochs"]} />}
        <Field id={fieldId("name")} label="Name" help="Empty for a name made of the dataset's." error={errors["name"]}>
          {(props) => <input {...props} class="input" autoComplete="off" maxLength={200} value={form.name} onInput={(event) => changeDraft({ name: event.currentTarget.value })} />}
        </Field>
        <Field id={fieldId("device")} label="Device" help="Auto takes the first free one that fits." error={errors["device"]}>
          {(props) => (
            <select {...props} class="select" value={form.device} onChange={(event) => changeDraft({ device: event.currentTarget.value })}>
              {deviceChoices(form.device).map((device) => <option key={device} value={device}>{device === "auto" ? "Auto" : device}</option>)}
            </select>
          )}
        </Field>
      </div>
    </section>
  );
}
