import { useLocation } from "preact-iso";
import { useEffect, useMemo } from "preact/hooks";
import { Empty, Loading } from "../../components/Notices";
import { Page } from "../../components/Page";
import { Comparison } from "../../store/comparison";
import { loading } from "../../store/queue";
import { withQuery } from "../queue/filter";
import { ChosenJobs } from "./ChosenJobs";
import { CompareCharts } from "./CompareCharts";
import type { Compared } from "./compared";
import { Differences } from "./Differences";
import { PreviewGrid } from "./PreviewGrid";
import { idsOf, type Slots, slotsText, toSlots } from "./slots";

/** Two to eight trainings side by side; which ones stands in the address. */
export function ComparePage() {
  const { path, query, route } = useLocation();
  const text = query["jobs"] ?? "";
  const slots = useMemo(() => toSlots(text), [text]);
  const comparison = useMemo(() => new Comparison(), []);
  useEffect(() => comparison.choose(idsOf(slots)), [slots]);
  useEffect(() => () => comparison.choose([]), []);
  const choose = (next: Slots): void => route(withQuery(path, query, { jobs: slotsText(next) }), true);
  const sessions = comparison.sessions.value;
  const compared = slots.flatMap((id, slot): Compared[] => {
    const session = id === null ? undefined : sessions.get(id);
    const job = session?.current();
    return session && job?.kind === "train" ? [{ slot, session, job }] : [];
  });
  return (
    <Page title="Compare">
      <div class="stack compare-page">
        <ChosenJobs slots={slots} sessions={sessions} choose={choose} />
        {compared.length >= 2 ? (
          <>
            <CompareCharts compared={compared} />
            <Differences compared={compared} />
            <PreviewGrid compared={compared} />
          </>
        ) : loading.value === "loading" || idsOf(slots).length > 1 && [...sessions.values()].some((session) => !session.current() && !session.error.value) ? <Loading what="the jobs" /> : (
          <Empty title={compared.length === 1 ? "One more, and they can be compared" : "Nothing to compare yet"}>
            <p>Choose two to eight trainings above, or select them in the queue and press Compare. Their curves, settings and previews then stand side by side.</p>
            <a class="button" href="/">Go to the queue</a>
          </Empty>
        )}
      </div>
    </Page>
  );
}
