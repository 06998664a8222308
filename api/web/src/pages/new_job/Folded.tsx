import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

/** A part of the form that most people need not open; it says what it holds, and opens for an error. */
export function Folded({ title, summary, isUsed, hasError, children }: {
  title: string;
  summary: string;
  /** Starts open. */
  isUsed: boolean;
  hasError: boolean;
  children: ComponentChildren;
}) {
  const [isOpen, setOpen] = useState(isUsed);
  useEffect(() => {
    if (hasError) setOpen(true);
  }, [hasError]);
  return (
    <details class="card form-card folded" open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <h2>{title}</h2>
        <span class="small muted">{summary}</span>
      </summary>
      {children}
    </details>
  );
}
