import { differences, type Compared } from "./compared";
import { Swatch } from "./Swatch";

/** What sets the jobs apart, and nothing that they have in common. */
export function Differences({ compared }: { compared: readonly Compared[] }) {
  const rows = differences(compared.map(({ job }) => job));
  return (
    <section class="stack" aria-label="Differences">
      <h2>Differences</h2>
      {rows.length === 0 ? <p class="muted">They were started with the same settings, on the same sounds.</p> : (
        <div class="card wide-table" tabIndex={0} role="region" aria-label="Settings that differ">
          <table class="table">
            <thead><tr><th scope="col">Setting</th>{compared.map(({ job, slot }) => <th key={job.id} scope="col"><Swatch slot={slot} />{job.name}</th>)}</tr></thead>
            <tbody>
              {rows.map(({ label, values }) => (
                <tr key={label} data-difference={label}>
                  <th scope="row">{label}</th>
                  {values.map((value, index) => <td key={compared[index]?.job.id} class="number">{value}</td>)}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
