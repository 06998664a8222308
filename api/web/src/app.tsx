import { ErrorBoundary, lazy, LocationProvider, Route, Router } from "preact-iso";
import { Empty } from "./components/Notices";
import { Page } from "./components/Page";
import { ResumeDialog } from "./components/ResumeDialog";
import { Header, OfflineBanner } from "./components/Shell";
import { Toasts } from "./components/Toasts";
import { DatasetPage } from "./pages/datasets/DatasetPage";
import { DatasetsPage } from "./pages/datasets/DatasetsPage";
import { NewJobPage } from "./pages/new_job/NewJobPage";
import { QueuePage } from "./pages/queue/QueuePage";
import { WorkersPage } from "./pages/workers/WorkersPage";

// The charts are the heaviest part, and only this page needs them.
const JobPage = lazy(() => import("./pages/job/JobPage").then((module) => module.JobPage));

export function App() {
  return (
    <LocationProvider>
      <a class="skip" href="#main">Skip to content</a>
      <Header />
      <OfflineBanner />
      <main id="main" tabIndex={-1}>
        <ErrorBoundary>
          <Router>
            <Route path="/" component={QueuePage} />
            <Route path="/datasets" component={DatasetsPage} />
            <Route path="/datasets/:id" component={DatasetPage} />
            <Route path="/new" component={NewJobPage} />
            <Route path="/workers" component={WorkersPage} />
            <Route path="/jobs/:id" component={JobPage} />
            <Route default component={NotFoundPage} />
          </Router>
        </ErrorBoundary>
      </main>
      <ResumeDialog />
      <Toasts />
    </LocationProvider>
  );
}

function NotFoundPage() {
  return (
    <Page title="Nothing here">
      <Empty title="This address leads nowhere">
        <p>It may have been mistyped.</p>
        <a class="button button-primary" href="/">Go to the queue</a>
      </Empty>
    </Page>
  );
}
