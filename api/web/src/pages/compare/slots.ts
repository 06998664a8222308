// Which jobs are compared. Each has a slot, which decides its colour and stands in the address: "3,,9" are two jobs, and
// a hole where one was taken out, so that no other changes its colour.

export const MOST_JOBS = 8;
/** Job ids by slot; null for a hole. */
export type Slots = readonly (number | null)[];

export function toSlots(text: string | undefined): Slots {
  const seen = new Set<number>();
  const slots = (text ?? "").split(",").slice(0, MOST_JOBS).map((part) => {
    const id = /^\d{1,9}$/.test(part) ? Number(part) : null;
    if (id === null || seen.has(id)) return null;
    seen.add(id);
    return id;
  });
  return withoutTail(slots);
}

export function slotsText(slots: Slots): string {
  return slots.map((id) => id ?? "").join(",");
}

export function idsOf(slots: Slots): number[] {
  return slots.filter((id) => id !== null);
}

/** A new job takes the first free slot. */
export function withJob(slots: Slots, id: number): Slots {
  if (slots.includes(id) || idsOf(slots).length >= MOST_JOBS) return slots;
  const hole = slots.indexOf(null);
  return hole < 0 ? [...slots, id] : slots.map((one, slot) => (slot === hole ? id : one));
}

export function withoutJob(slots: Slots, id: number): Slots {
  return withoutTail(slots.map((one) => (one === id ? null : one)));
}

function withoutTail(slots: Slots): Slots {
  return slots.slice(0, slots.findLastIndex((id) => id !== null) + 1);
}

/** The address that compares these jobs. */
export function compareUrl(ids: readonly number[]): string {
  return `/compare?jobs=${ids.slice(0, MOST_JOBS).join(",")}`;
}
