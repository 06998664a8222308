import { useId, useState } from "preact/hooks";
import { Icon } from "./Icon";

/** Words as chips that can be taken off, and an input for one more; Enter, a comma or leaving it adds what it holds. */
export function Chips({ id, label, describedBy, invalid, values, fixed = [], fixedWhy, isFixed = false, suggestions = [], placeholder, onChange }: {
  id?: string;
  label: string;
  describedBy?: string | undefined;
  invalid?: boolean | undefined;
  values: readonly string[];
  /** Those that cannot be taken off, and why. */
  fixed?: readonly string[];
  fixedWhy?: string | undefined;
  /** Shows them, to be looked at. */
  isFixed?: boolean;
  suggestions?: readonly string[];
  placeholder?: string;
  onChange: (values: readonly string[]) => void;
}) {
  const listId = useId();
  const [text, setText] = useState("");
  const add = (typed: string): void => {
    const fresh = typed.toLowerCase().split(/[\s,]+/).filter((word) => word && !values.includes(word));
    setText("");
    if (fresh.length > 0) onChange([...values, ...new Set(fresh)]);
  };
  return (
    <div class="chips">
      {values.map((value) => (
        <span key={value} class="chip" title={fixed.includes(value) ? fixedWhy : undefined}>
          {value}
          {!fixed.includes(value) && <button type="button" aria-label={`Take ${value} off`} onClick={() => onChange(values.filter((one) => one !== value))}><Icon name="close" /></button>}
        </span>
      ))}
      {!isFixed && <input
        id={id}
        class="chip-input"
        aria-label={id ? undefined : label}
        aria-describedby={describedBy}
        aria-invalid={invalid}
        list={listId}
        autoComplete="off"
        spellcheck={false}
        placeholder={placeholder}
        value={text}
        onInput={(event) => {
          const typed = event.currentTarget.value;
          if (/[,\s]$/.test(typed) || suggestions.includes(typed)) add(typed);
          else setText(typed);
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" && text) {
            event.preventDefault();
            add(text);
          } else if (event.key === "Backspace" && text === "" && values.some((one) => !fixed.includes(one))) {
            const last = values.findLast((one) => !fixed.includes(one));
            onChange(values.filter((one) => one !== last));
          }
        }}
        onBlur={() => add(text)}
      />}
      <datalist id={listId}>{suggestions.filter((one) => !values.includes(one)).map((one) => <option key={one} value={one} />)}</datalist>
    </div>
  );
}
