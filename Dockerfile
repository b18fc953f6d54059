FROM node:24-slim

ENV NODE_ENV=production
WORKDIR /app

# The dependencies are a layer of their own, so that a change of ours does not install them anew.
# "optional" holds what development needs: a Node and a PostgreSQL from npm.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --omit=optional && npm cache clean --force

COPY src ./src
COPY migrations ./migrations
COPY views ./views

# What Node compiles of it, once for all starts: it then needs no compiler, nor the memory for one. It looks only at what
# its own user has compiled, under the same options of V8: those of CMD below, and none for the command line and for the
# process that hashes passwords.
ENV NODE_COMPILE_CACHE=/app/node_modules/.compiled
RUN install -d -o node node_modules/.compiled
USER node
RUN node --max-semi-space-size=4 --heap-growing-percent=25 -e "for (const file of require('node:fs').globSync('/app/{src/main,src/process/*,migrations/*}.ts')) import(file)"
RUN node -e "for (const file of ['cli/main', 'password_hashing/argon2id_process']) import(\`/app/src/\${file}.ts\`)"
USER root
RUN chown -R root node_modules/.compiled && chmod -R a+rX,go-w node_modules/.compiled

# The files stay root's: the process can read what it runs, and change none of it.
USER node

# Inside a container only its own network reaches these; publish the first, never the second.
ENV HOST=0.0.0.0 PORT=3000 GATEHOUSE_MANAGEMENT_HOST=0.0.0.0 GATEHOUSE_MANAGEMENT_PORT=9000
EXPOSE 3000 9000

# Alive, not ready: a node that waits for its database must not be restarted for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.GATEHOUSE_MANAGEMENT_PORT}/healthz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]

STOPSIGNAL SIGTERM
# Node lets garbage gather where there is memory, and has four threads to collect it; this collects it sooner, by one thread
# that leaves the core to requests.
ENV MALLOC_ARENA_MAX=2
CMD ["node", "--max-semi-space-size=4", "--heap-growing-percent=25", "--v8-pool-size=1", "src/main.ts"]
