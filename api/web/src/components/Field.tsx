import type { ComponentChildren } from "preact";
import { Said } from "./Said";

export interface ControlProps {
  readonly id: string;
  readonly "aria-describedby": string | undefined;
  readonly "aria-invalid": boolean | undefined;
}

/** A labelled control with its help and, beside it, what is wrong with its value. */
export function Field({ id, label, help, error, children }: {
  id: string;
  label: string;
  help?: string | undefined;
  error?: string | undefined;
  children: (props: ControlProps) => ComponentChildren;
}) {
  const describedBy = [error && `${id}-error`, help && `${id}-help`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": describedBy || undefined, "aria-invalid": error ? true : undefined })}
      {error && <p class="field-error" id={`${id}-error`} role="alert"><Said text={error} /></p>}
      {help && <p class="field-help" id={`${id}-help`}><Said text={help} /></p>}
    </div>
  );
}
