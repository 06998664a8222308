import { Field } from "../../components/Field";
import { fieldLabel, setting } from "../../format";
import { draft, typeInto } from "../../store/draft";
import { textOf } from "../../store/typed";
import type { TrainField } from "../../train_fields";
import { fieldId } from "./field_groups";

/** One value of the configuration: the preset's until something else is typed. */
export function ConfigField({ field, preset, error }: { field: TrainField; preset: unknown; error: string | undefined }) {
  const presetText = textOf(preset);
  const typed = draft.value.typed[field.name];
  const value = typed ?? presetText;
  const isChanged = typed !== undefined;
  const label = fieldLabel(field.name);
  const id = fieldId(field.name);
  return (
    <div class="config-field" data-changed={isChanged}>
      <Field id={id} label={label} help={field.help} error={error}>
        {(props) => {
          const change = (text: string): void => typeInto(field.name, text, presetText);
          if (field.type === "boolean") {
            return <span class="check"><input {...props} type="checkbox" checked={value === "true"} onChange={(event) => change(String(event.currentTarget.checked))} /></span>;
          }
          if (field.type === "choice") {
            return (
              <select {...props} class="select" value={value} onChange={(event) => change(event.currentTarget.value)}>
                {field.choices.map((choice) => <option key={choice} value={choice}>{choice}</option>)}
              </select>
            );
          }
          return (
            <input
              {...props}
              class="input number"
              autoComplete="off"
              spellcheck={false}
              inputMode={field.type === "integer" ? "numeric" : field.type === "number" ? "decimal" : undefined}
              placeholder={emptyWord(field)}
              value={value}
              onInput={(event) => change(event.currentTarget.value)}
            />
          );
        }}
      </Field>
      {isChanged && (
        <button type="button" class="reset small" onClick={() => typeInto(field.name, presetText, presetText)}>
          Reset to {presetText === "" ? (emptyWord(field) ?? "the preset's value") : setting(preset)}
        </button>
      )}
    </div>
  );
}

/** What an empty input stands for. */
function emptyWord(field: TrainField): string | undefined {
  return field.nullable ? "automatic" : field.type === "array" ? "none" : undefined;
}
