interface Choice<T extends string> {
  readonly value: T;
  readonly title: string;
  readonly text: string;
}

/** A few alternatives as radio buttons that say what they mean. */
export function Choices<T extends string>({ legend, name, value, choices, onChange }: {
  legend: string;
  name: string;
  value: T;
  choices: readonly Choice<T>[];
  onChange: (value: T) => void;
}) {
  return (
    <fieldset class="choices">
      <legend>{legend}</legend>
      <div class="choice-grid">
        {choices.map((choice) => (
          <label key={choice.value} class="choice">
            <input type="radio" name={name} value={choice.value} checked={choice.value === value} onChange={() => onChange(choice.value)} />
            <span><b>{choice.title}</b> <span class="small muted">{choice.text}</span></span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
