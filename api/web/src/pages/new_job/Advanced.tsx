import { plural } from "../../format";
import type { TrainConfig } from "../../model/wire_types";
import { changeDraft, draft, valueOf } from "../../store/draft";
import { ConfigField } from "./ConfigField";
import { fieldGroups } from "./field_groups";
import { Folded } from "./Folded";

/** Everything else that decides a training, generated from the configuration's own schema. */
export function Advanced({ preset, errors }: { preset: TrainConfig | null; errors: Readonly<Record<string, string>> }) {
  const form = draft.value;
  const groups = fieldGroups(form);
  const names = groups.flatMap(({ fields }) => fields.map(({ name }) => name));
  const changed = names.filter((name) => form.typed[name] !== undefined).length;
  return (
    <Folded
      title="Advanced"
      summary={changed > 0 ? `${plural(changed, "value")} changed` : "the preset decides"}
      isUsed={changed > 0}
      hasError={names.some((name) => errors[name])}
    >
      {changed > 0 && <p><button type="button" class="button button-small" onClick={() => changeDraft({ typed: {} })}>Reset all to the preset</button></p>}
      {groups.map(({ title, fields }) => (
        <section key={title} aria-label={title}>
          <h3>{title}</h3>
          <div class="field-grid">
            {fields.map((field) => <ConfigField key={field.name} field={field} preset={valueOf(preset, field.name)} error={errors[field.name]} />)}
          </div>
        </section>
      ))}
    </Folded>
  );
}
