/** The colour of a job's slot. */
export function Swatch({ slot }: { slot: number }) {
  return <i class="swatch" data-slot={slot} aria-hidden="true" />;
}
